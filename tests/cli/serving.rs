//! `fencepost serve` as a browser meets it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use super::fencepost;

fn get(address: &str, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_folder_of_reports_is_shown_to_this_machine() {
    let out = tempfile::tempdir().unwrap();
    let root = out.path().to_str().unwrap();
    for seed in ["1", "2"] {
        fencepost(&["run", "scenarios/calm.toml", "--seed", seed, "--out", root]);
    }
    let mut server = Command::new(env!("CARGO_BIN_EXE_fencepost"))
        .args(["serve", root, "--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{line}");
    let answers = ["/", "/?scenario=calm&verdict=invalid", "/../Cargo.toml", "/files/../Cargo.toml"]
        .map(|path| get(&address, path, &address));
    let list = &answers[0];
    let runs: Vec<&str> = list.split("name=\"a\" value=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let page = get(&address, &format!("/files/{}/report.html", runs[0]), &address);
    let both = get(&address, &format!("/compare?a={}&b={}", runs[0], runs[1]), "localhost");
    let stranger = get(&address, "/", "example.org");
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(runs.len(), 2, "{list}");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("Nothing goes wrong"), "{page}");
    assert!(both.contains("Two runs side by side"), "{both}");
    assert!(answers[1].contains("0 runs of 2"), "{}", answers[1]);
    assert!(answers[2..].iter().all(|answer| answer.starts_with("HTTP/1.1 404")), "{:?}", &answers[2..]);
    assert!(stranger.starts_with("HTTP/1.1 403"), "{stranger}");
}
