//! What the proxy between a client and its lock servers adds to a round trip: `cargo bench --bench proxy`.
//!
//! A responder on loopback that answers each request at once, asked straight and through the proxy in turn, one request
//! at a time, by a client that blocks. Wall time, so a busy machine shows: medians are given, and the 99th percentile.
//! In `-- HOST:PORT` the server is a real Redis instead.

#![expect(clippy::disallowed_methods, reason = "measures in real time")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fencepost::env::docker::proxy::Proxy;
use fencepost::ids::LockName;
use fencepost::wire::{Names, Protocol};

/// What it may add (issue 14).
const GOAL: Duration = Duration::from_micros(200);

const ROUNDS: usize = 40;
const IN_A_ROUND: usize = 250;

const REQUEST: &[u8] = b"*3\r\n$3\r\nSET\r\n$14\r\nfp-1234-item-1\r\n$2\r\nme\r\n";

fn main() {
    let server = std::env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or_else(responder);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let names = Names::new([(LockName::new("item-1"), b"fp-1234-item-1".to_vec())]);
    let proxy = runtime.block_on(Proxy::open(Protocol::Resp, &[server], names, None)).expect("a port");
    let (mut straight, mut proxied) = (Vec::new(), Vec::new());
    let (mut to_server, mut to_door) = (connect(server), connect(proxy.doors[0]));
    for _ in 0..ROUNDS {
        straight.extend(ask(&mut to_server));
        proxied.extend(ask(&mut to_door));
    }
    let figures = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        (times[times.len() / 2], times[times.len() * 99 / 100])
    };
    let ((median, late), (median_proxied, late_proxied)) = (figures(&mut straight), figures(&mut proxied));
    let adds = median_proxied.saturating_sub(median);
    println!("{} round trips each way", straight.len());
    println!("straight: median {median:?}, 99 % within {late:?}");
    println!("proxied:  median {median_proxied:?}, 99 % within {late_proxied:?}");
    println!("adds {adds:?} (goal {GOAL:?}): {}", if adds < GOAL { "met" } else { "missed" });
}

/// Answers each request of [`REQUEST`]'s length.
fn responder() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut request = [0; REQUEST.len()];
                let _ = stream.set_nodelay(true);
                while stream.read_exact(&mut request).is_ok() && stream.write_all(b"+OK\r\n").is_ok() {}
            });
        }
    });
    address
}

fn connect(to: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(to).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    BufReader::new(stream)
}

fn ask(connection: &mut BufReader<TcpStream>) -> Vec<Duration> {
    let mut line = String::new();
    let mut one = || {
        let start = Instant::now();
        connection.get_mut().write_all(REQUEST).expect("a server");
        line.clear();
        connection.read_line(&mut line).expect("a reply");
        assert_eq!(line, "+OK\r\n");
        start.elapsed()
    };
    (0..IN_A_ROUND).map(|_| one()).collect()
}
