//! The pages in a real browser: headless Chromium, driven over its DevTools protocol through a pipe (`--remote-debugging-pipe`:
//! requests on descriptor 3, answers on 4, each ended by a NUL), so that nothing has to listen on a port.
//!
//! What is looked at is what the browser says: errors on its console, where links land, whether zooming and the keyboard move
//! what they should, contrast as computed, names of what can be operated, and whether anything is cut off on a phone.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A browser with one page.
struct Browser {
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
    fn start() -> Self {
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

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
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
    fn open(&mut self, page: &Path, width: u32, dark: bool) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", features);
        self.events.clear();
        self.ask("Page.navigate", json!({ "url": format!("file://{}", page.canonicalize().unwrap().display()) }));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.read();
            self.events.push(event);
        }
    }

    /// The value of an expression on the page.
    fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    fn errors(&self) -> Vec<&Value> {
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

fn fencepost(arguments: &[&str], out: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_fencepost")).args(arguments).arg("--out").arg(out).output().unwrap();
    assert!(matches!(output.status.code(), Some(0..=2)), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A broken run with a fault of clients, one with a fault of clocks, a comparison with curves.
fn pages(out: &Path) -> Vec<PathBuf> {
    fencepost(&["run", "scenarios/client-pause.toml", "--seed", "1"], out);
    fencepost(&["run", "scenarios/clock-jump.toml", "--seed", "1"], out);
    let vary = ["compare", "scenarios/client-pause.toml", "--vary", "lock.redlock.ttl=1s,4s"];
    fencepost(&[&vary[..], &["--seeds", "2", "--seed", "1"]].concat(), out);
    ["client-pause/latest/report.html", "clock-jump/latest/report.html", "compare/index.html"]
        .map(|page| out.join(page))
        .to_vec()
}

/// All texts whose contrast is below what WCAG 2 asks for (4.5, or 3 for large ones), by the colours as computed.
const CONTRAST: &str = r#"(() => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
  const linear = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0.99) return colour;
    }
    return [255, 255, 255, 1];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    // Texts in drawings lie on bars and bands, which this does not see.
    if (!node.data.trim() || !element.getClientRects().length || element.closest("svg, script, style")) continue;
    const style = getComputedStyle(element);
    const [one, other] = [light(parse(style.color)), light(ground(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className}: ${node.data.trim().slice(0, 40)}`);
  }
  return [...new Set(poor)];
})()"#;

/// Whatever can be operated or stands for something and has no name.
const NAMELESS: &str = r#"(() => {
  const name = (element) => (element.getAttribute("aria-label") || element.textContent || element.value || "").trim();
  const labelled = (element) => element.labels?.length || element.getAttribute("aria-label");
  return [
    ...[...document.querySelectorAll("a, button, summary, th")].filter((e) => !name(e) && !(e.tagName === "TH" && e.cellIndex === 0)),
    ...[...document.querySelectorAll("svg[role]")].filter((e) => !e.getAttribute("aria-label")),
    ...[...document.querySelectorAll("input, select")].filter((e) => !labelled(e)),
    ...(document.documentElement.lang && document.title ? [] : [document.documentElement]),
  ].map((e) => e.outerHTML.slice(0, 120));
})()"#;

/// Links within the page that lead nowhere, and ids that stand twice.
const DANGLING: &str = r##"(() => {
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  return [
    ...[...document.querySelectorAll("a[href^='#']")].map((a) => a.getAttribute("href").slice(1)).filter((id) => !ids.includes(id)),
    ...ids.filter((id, at) => ids.indexOf(id) !== at),
  ];
})()"##;

/// Whatever reaches beyond the window and is not in something that scrolls.
const CUT_OFF: &str = r#"(() => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const scrolls = (e) => e.closest("pre, figure, .scroll, svg.defs");
  const wide = [...document.body.querySelectorAll("*")].filter((e) => !scrolls(e) && e.getClientRects().length
    && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1);
  return wide.map((e) => `${e.tagName}.${e.className} ${Math.round(e.getBoundingClientRect().right)}: ${e.textContent.slice(0, 50)}`);
})()"#;

#[test]
fn pages_are_sound_in_light_and_dark_at_both_widths() {
    let out = tempfile::tempdir().unwrap();
    let mut browser = Browser::start();
    let mut problems = Vec::new();
    for page in pages(out.path()) {
        for (width, dark) in [(1280, false), (1280, true), (390, false), (390, true)] {
            browser.open(&page, width, dark);
            let place = format!("{} at {width} px, {}", page.display(), if dark { "dark" } else { "light" });
            for (what, expression) in
                [("contrast", CONTRAST), ("no name", NAMELESS), ("no target", DANGLING), ("cut off", CUT_OFF)]
            {
                let found = browser.value(expression);
                let found = found.as_array().unwrap();
                problems.extend(found.iter().map(|found| format!("{place}: {what}: {found}")));
            }
            problems.extend(browser.errors().iter().map(|error| format!("{place}: {error}")));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn steps_lead_to_their_marks_and_back_and_the_run_can_be_zoomed_by_hand_and_by_keyboard() {
    let out = tempfile::tempdir().unwrap();
    let mut browser = Browser::start();
    let page = pages(out.path()).swap_remove(0);
    browser.open(&page, 1280, false);
    // A step of a card that is closed opens nothing else than itself; the story's are open.
    let landed = browser.value(
        r##"(async () => {
          const step = document.querySelector("#story ol.steps a.badge");
          step.click();
          await new Promise((done) => setTimeout(done, 100));
          const mark = document.querySelector(":target");
          const seen = mark.getBoundingClientRect();
          mark.querySelector("circle").dispatchEvent(new MouseEvent("click", { bubbles: true }));
          await new Promise((done) => setTimeout(done, 100));
          return [mark.id, seen.top >= 0 && seen.bottom <= innerHeight, document.querySelector(":target").id];
        })()"##,
    );
    assert_eq!(landed, json!(["story-m1", true, "story-s1"]));
    let card = browser.value(
        r##"(async () => {
          location.hash = "#zookeeper-incident-2-s3";
          await new Promise((done) => setTimeout(done, 100));
          const step = document.querySelector(":target");
          return [step.closest("details.incident").open, step.getClientRects().length];
        })()"##,
    );
    assert_eq!(card, json!([true, 1]), "a link into a closed card opens it");
    let zoom = browser.value(
        r##"(async () => {
          const figure = document.querySelector("figure.overview");
          const width = () => Number(figure.querySelector("svg.plot").getAttribute("viewBox").split(" ")[2]);
          const all = [width()];
          figure.querySelector("button").click();
          all.push(width());
          figure.focus();
          figure.dispatchEvent(new KeyboardEvent("keydown", { key: "+", bubbles: true }));
          all.push(width());
          figure.dispatchEvent(new KeyboardEvent("keydown", { key: "0", bubbles: true }));
          all.push(width());
          return [all[1] < all[0], all[2] < all[1], all[3] === all[0], figure.querySelectorAll("title").length > 10];
        })()"##,
    );
    assert_eq!(zoom, json!([true, true, true, true]));
    assert!(browser.errors().is_empty(), "{:#?}", browser.errors());
}
