//! The pages in a real browser ([`chromium`]).
//!
//! What is looked at is what the browser says ([`looks`]): errors on its console, where links land, whether zooming and
//! the keyboard move what they should, contrast as computed, names of what can be operated, and whether anything is cut
//! off, on a screen, on a phone and on paper. Pictures of all pages are left in `target/tmp/pages` for people.

mod chromium;
mod looks;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use chromium::{Browser, address};
use serde_json::json;

fn fencepost(arguments: &[&str], out: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_fencepost")).args(arguments).arg("--out").arg(out).output().unwrap();
    assert!(matches!(output.status.code(), Some(0..=2)), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A broken run with a fault of clients.
fn broken(out: &Path) -> PathBuf {
    fencepost(&["run", "scenarios/client-pause.toml", "--seed", "1"], out);
    out.join("client-pause/latest/report.html")
}

/// `fencepost serve`, while it lives.
struct Serving(Child, String);

impl Serving {
    fn start(out: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_fencepost"))
            .args(["serve", "--port", "0"])
            .arg(out)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split(' ').next().unwrap().to_owned();
        Self(process, address)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every kind of page by its name: a broken run with a fault of clients, one with a fault of clocks, a comparison with
/// curves, one with both worlds, a search, the lists and the pairs of `serve`.
fn pages(out: &Path) -> (Vec<(&'static str, String)>, Serving) {
    let mut pages = vec![("run", address(&broken(out)))];
    fencepost(&["run", "scenarios/clock-jump.toml", "--seed", "1"], out);
    pages.push(("run-clocks", address(&out.join("clock-jump/latest/report.html"))));
    let few = ["--seeds", "2", "--seed", "1"];
    let vary = ["compare", "scenarios/client-pause.toml", "--vary", "lock.redlock.ttl=1s,4s"];
    let curves = out.join("curves");
    fencepost(&[&vary[..], &few].concat(), &curves);
    pages.push(("curves", address(&curves.join("compare/index.html"))));
    // There is no Docker here: a simulated run passes for one on real servers, and its page for what it is.
    let real = out.join("real");
    fencepost(&["run", "scenarios/client-pause.toml", "--seed", "3"], &real);
    let run = real.join("client-pause/latest/run.json");
    let told = std::fs::read_to_string(&run).unwrap();
    let told = told.replacen("\"environment\": \"sim\"", "\"environment\": \"docker\"", 1);
    assert!(told.contains("\"environment\": \"docker\""), "a run's description says where it was");
    std::fs::write(&run, told).unwrap();
    let beside = ["compare", "scenarios/client-pause.toml", "scenarios/calm.toml", "--with", real.to_str().unwrap()];
    let worlds = out.join("worlds");
    fencepost(&[&beside[..], &few].concat(), &worlds);
    pages.push(("worlds", address(&worlds.join("compare/index.html"))));
    let searched = out.join("searched");
    let search = ["hunt", "--seeds", "20", "--seed", "1", "--assume", "nothing", "--no-shrink"];
    fencepost(&search, &searched);
    let hunts = std::fs::read_dir(searched.join("hunt")).unwrap().map(|entry| entry.unwrap().path());
    let hunt = hunts.map(|folder| folder.join("index.html")).find(|page| page.is_file()).unwrap();
    pages.push(("hunt", address(&hunt)));
    let serving = Serving::start(out);
    let place = |name: &str| {
        let run = out.join(name).join("latest").canonicalize().unwrap();
        format!("{name}/{}", run.file_name().unwrap().to_str().unwrap())
    };
    pages.push(("serve", serving.1.clone()));
    let [one, other] = ["client-pause", "clock-jump"].map(place);
    pages.push(("serve-pair", format!("{}compare?a={one}&b={other}", serving.1)));
    (pages, serving)
}

/// Decodes base64, as the browser says pictures.
fn decoded(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> = text.bytes().filter(|byte| *byte != b'=').map(|byte| value(byte).into()).collect();
    let four = |four: &[u32]| {
        let bits = four.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(four).collect()
}

#[test]
fn pages_are_sound_in_light_and_dark_at_both_widths_and_on_paper() {
    let out = tempfile::tempdir().unwrap();
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&pictures).unwrap();
    let keep = |name: &str, data: &str| std::fs::write(pictures.join(name), decoded(data)).unwrap();
    let mut browser = Browser::start();
    let mut problems = Vec::new();
    let (pages, _serving) = pages(out.path());
    let mut look = |browser: &mut Browser, place: &str| {
        for (what, expression) in [
            ("contrast", looks::CONTRAST),
            ("no name", looks::NAMELESS),
            ("no target", looks::DANGLING),
            ("cut off", looks::CUT_OFF),
        ] {
            let found = browser.value(expression);
            let found = found.as_array().unwrap();
            problems.extend(found.iter().map(|found| format!("{place}: {what}: {found}")));
        }
        problems.extend(browser.errors().iter().map(|error| format!("{place}: {error}")));
    };
    for (name, address) in &pages {
        for (width, dark) in [(1280, false), (1280, true), (390, false), (390, true)] {
            browser.open(address, width, dark);
            let scheme = if dark { "dark" } else { "light" };
            keep(&format!("{name}-{width}-{scheme}.png"), &browser.picture(width));
            look(&mut browser, &format!("{name} at {width} px, {scheme}"));
        }
        // A sheet of A4 within its margins, in CSS pixels; whoever prints may look at a dark screen.
        browser.open(address, 718, true);
        browser.media("print", true);
        look(&mut browser, &format!("{name} on paper"));
        keep(&format!("{name}.pdf"), &browser.paper());
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn steps_lead_to_their_marks_and_back_and_the_run_can_be_zoomed_by_hand_and_by_keyboard() {
    let out = tempfile::tempdir().unwrap();
    let mut browser = Browser::start();
    let page = address(&broken(out.path()));
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
          return [all[1] < all[0], all[2] < all[1], all[3] === all[0]];
        })()"##,
    );
    assert_eq!(zoom, json!([true, true, true]));
    let told = browser.value(
        r##"(() => {
          const wrong = [];
          let told = 0;
          for (const path of document.querySelectorAll("#story [data-told], figure.overview [data-told]")) {
            const picture = path.closest("svg.timeline");
            picture.scrollIntoView();
            const matrix = path.getScreenCTM();
            // The first mark, in its middle, as far as nothing else lies on it.
            const [, x, y, way] = /^M([\d.]+) ?(-?[\d.]+)(?:h([-\d.]+))?/.exec(path.getAttribute("d"));
            const aside = path.classList.contains("points") ? 0 : Number(way ?? 0) / 2;
            const at = new DOMPoint(Number(x) + aside, Number(y)).matrixTransform(matrix);
            const target = document.elementFromPoint(at.x, at.y);
            if (!target || !picture.contains(target) || target.closest("a")) continue;
            const own = target.querySelector(":scope > title")?.textContent;
            const move = (clientX, clientY) => target.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY, bubbles: true }));
            move(at.x, at.y);
            const text = target.querySelector(":scope > title")?.textContent;
            told += 1;
            if (!text || /\uFFFC|undefined/.test(text)) wrong.push(`${path.getAttribute("class")}: ${text}`);
            move(-1000, -1000);
            const after = target.querySelector(":scope > title")?.textContent;
            if (after !== own) wrong.push(`${path.getAttribute("class")} goes on saying ${after}`);
          }
          return [wrong, told > 10];
        })()"##,
    );
    assert_eq!(told, json!([[], true]), "whatever is pointed at says what it is");
    let untold = browser.value(
        r##"[...document.querySelectorAll("svg.timeline .lane-name, svg.timeline a > .mark")].filter((e) => !e.querySelector("title")).length"##,
    );
    assert_eq!(untold, json!(0), "each lane and each number says what it is");
    assert!(browser.errors().is_empty(), "{:#?}", browser.errors());
}
