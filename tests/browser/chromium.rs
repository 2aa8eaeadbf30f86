//! Headless Chromium, driven over its DevTools protocol through a pipe (`--remote-debugging-pipe`: requests on
//! descriptor 3, answers on 4, each ended by a NUL), so that nothing has to listen on a port.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// The address of a file.
pub fn address(page: &Path) -> String {
    format!("file://{}", page.canonicalize().unwrap().display())
}

/// A browser with one page.
pub struct Browser {
    process: Child,
    requests: std::fs::File,
    answers: BufReader<std::fs::File>,
    session: Option<String>,
    number: u64,
    /// What came unasked.
    events: Vec<Value>,
    _home: tempfile::TempDir,
}

impl Browser {
    pub fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let [requests, answers] = ["requests", "answers"].map(|name| home.path().join(name));
        assert!(Command::new("mkfifo").args([&requests, &answers]).status().unwrap().success());
        let script = "exec chromium --headless=new --no-sandbox --disable-gpu --remote-debugging-pipe \
                      --user-data-dir=\"$3\" about:blank 3<\"$1\" 4>\"$2\"";
        let process = Command::new("sh")
            .args(["-c", script, "sh"])
            .args([&requests, &answers, &home.path().join("profile")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A pipe opens when both ends do, in the shell's order.
        let requests = std::fs::OpenOptions::new().write(true).open(requests).unwrap();
        let answers = BufReader::new(std::fs::File::open(answers).unwrap());
        let mut browser =
            Self { process, requests, answers, session: None, number: 0, events: Vec::new(), _home: home };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.ask("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.answers.read_until(0, &mut bytes).unwrap();
        assert!(bytes.pop() == Some(0), "the browser has gone");
        serde_json::from_slice(&bytes).unwrap()
    }

    pub fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut request = json!({ "id": self.number, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.requests.write_all(request.to_string().as_bytes()).unwrap();
        self.requests.write_all(&[0]).unwrap();
        loop {
            let answer = self.read();
            if answer["id"] == self.number {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    /// Opens a page in a window of that size and waits until it is there.
    pub fn open(&mut self, address: &str, width: u32, dark: bool) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.ask("Emulation.setDeviceMetricsOverride", size);
        self.media("screen", dark);
        self.events.clear();
        self.ask("Page.navigate", json!({ "url": address }));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.read();
            self.events.push(event);
        }
    }

    /// Shows the page as on this medium, in light or dark.
    pub fn media(&mut self, medium: &str, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.ask("Emulation.setEmulatedMedia", json!({ "media": medium, "features": features }));
    }

    /// A picture of the page from its top down, as PNG in base64.
    pub fn picture(&mut self, width: u32) -> String {
        let height = self.value("Math.min(document.documentElement.scrollHeight, 6000)");
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let parameters = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        self.ask("Page.captureScreenshot", parameters)["data"].as_str().unwrap().to_owned()
    }

    /// The page on paper, as PDF in base64.
    pub fn paper(&mut self) -> String {
        let parameters = json!({ "printBackground": true, "preferCSSPageSize": true });
        self.ask("Page.printToPDF", parameters)["data"].as_str().unwrap().to_owned()
    }

    /// The value of an expression on the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    pub fn errors(&self) -> Vec<&Value> {
        let is_error = |event: &&Value| {
            event["method"] == "Runtime.exceptionThrown"
                || event["method"] == "Log.entryAdded" && event["params"]["entry"]["level"] == "error"
                || event["method"] == "Runtime.consoleAPICalled" && event["params"]["type"] == "error"
        };
        self.events.iter().filter(is_error).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
