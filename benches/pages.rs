//! How long a page takes to open in a browser:
//!
//! ```sh
//! cargo bench --features browser-tests --bench pages -- reports/client-pause/latest/report.html
//! ```
//!
//! The least of five times, from the navigation to the second frame after the page has loaded, and its size.
//! Deliberately absent: a verdict; DESIGN has the goal, two seconds and 3 MB for a history of 100,000 ops.

#[path = "../tests/browser/chromium.rs"]
#[expect(dead_code, reason = "the tests do more with it")]
mod chromium;

use std::path::PathBuf;

use chromium::{Browser, address};

/// How often each page is opened.
const TIMES: usize = 5;

/// In whole milliseconds since the navigation: the first text on the screen, all loaded, the second frame after that.
const TIMING: &str = r#"(async () => {
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const [navigation] = performance.getEntriesByType("navigation");
  const [painted] = performance.getEntriesByName("first-contentful-paint");
  return [painted?.startTime ?? 0, navigation.loadEventEnd, performance.now()].map(Math.round);
})()"#;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` only wants to see it build.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let pages: Vec<PathBuf> = arguments.iter().filter(|word| !word.starts_with("--")).map(PathBuf::from).collect();
    if pages.is_empty() {
        println!("name pages: cargo bench --features browser-tests --bench pages -- PAGE…");
    }
    let mut browser = Browser::start();
    for page in pages {
        let size = page.metadata().map_or(0, |file| file.len());
        let mut times: Vec<Vec<u64>> = Vec::new();
        for _ in 0..TIMES {
            browser.open(&address(&page), 1280, false);
            let took = browser.value(TIMING);
            times.extend(took.as_array().map(|took| took.iter().filter_map(serde_json::Value::as_u64).collect()));
        }
        let least = |place: usize| times.iter().filter_map(|times| times.get(place)).min().copied().unwrap_or_default();
        println!(
            "{}: {} kB; first paint {} ms, loaded {} ms, drawn {} ms",
            page.display(),
            size / 1_000,
            least(0),
            least(1),
            least(2)
        );
    }
}
