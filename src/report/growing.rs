//! The page of a run that has no verdict yet: its timelines so far. Read from the histories as they are written.
//!
//! Deliberately absent: any judgement; there is none before the run is over.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use maud::html;

use super::document::{document, script, slug};
use super::scene::Scene;
use super::{HISTORY, RUN, appendix, lanes, library, timeline, words};
use crate::history::{History, file};
use crate::time::Nanos;

/// A history that nobody has written to for so long belongs to a run that is over.
const SILENT: Duration = Duration::from_secs(30);

/// A run without a verdict, as it stands.
pub struct Growing {
    /// Its page.
    pub page: String,
    /// Whether more is to be expected.
    pub goes_on: bool,
}

/// The places of runs below `root` that have histories and no description yet; the newest first.
pub fn unjudged(root: &Path) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = library::folders(root)
        .into_iter()
        .filter(|folder| !folder.join(RUN).exists() && !histories(folder).is_empty())
        .filter_map(|folder| Some(folder.strip_prefix(root).ok()?.to_owned()))
        .collect();
    places.sort_by(|one, other| other.file_name().cmp(&one.file_name()));
    places
}

/// The histories in a run's folder, by the lock's name.
fn histories(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = entries.filter_map(|entry| {
        let path = entry.path().join(HISTORY);
        path.is_file().then(|| (entry.file_name().to_string_lossy().into_owned(), path))
    });
    let mut histories: Vec<(String, PathBuf)> = of.collect();
    histories.sort();
    histories
}

/// The page of the run in `folder` below `root`; none where there is no history.
pub fn page(root: &Path, folder: &Path) -> Option<Growing> {
    let place = folder.strip_prefix(root).ok()?.to_string_lossy().into_owned();
    let histories = histories(folder);
    if histories.is_empty() {
        return None;
    }
    let recent = |path: &PathBuf| {
        let touched = fs::metadata(path).and_then(|data| data.modified()).ok();
        touched.and_then(|at| at.elapsed().ok()).is_some_and(|silent| silent < SILENT)
    };
    let judged = folder.join(RUN).exists();
    let goes_on = !judged && histories.iter().any(|(_, path)| recent(path));
    let read: Vec<(&String, Result<History, String>)> =
        histories.iter().map(|(lock, path)| (lock, file::read(path).map_err(|error| error.to_string()))).collect();
    let state = match (judged, goes_on) {
        (true, _) => "It is over and has been judged: its report is in the list.",
        (false, true) => "It goes on; this page is drawn again every two seconds. Nothing has been judged yet.",
        (false, false) => "Nobody writes to it any more, and nobody has judged it: it was stopped, or killed.",
    };
    let body = html! {
        svg.defs width="0" height="0" aria-hidden="true" { defs { (lanes::hatch("expired")) } }
        header { p.dim { a href="/" { "all runs" } } h1 { (place) } p.why { (state) } }
        main {
            (appendix::legend())
            @for (lock, history) in &read {
                section.lock {
                    h2 { (lock) }
                    @match history {
                        Ok(history) => {
                            @let scene = Scene::of(history);
                            p.dim {
                                (words::counted(history.ops.len() as u64, "op", "ops")) ", "
                                (words::counted(scene.holds.len() as u64, "grant", "grants")) " until "
                                (words::lasting(scene.end - Nanos::ZERO)) "."
                            }
                            (timeline::overview(&scene, &[], &[], &format!("growing-{}", slug(lock))))
                        }
                        Err(why) => p.notice { "Nothing to read yet: " (why) },
                    }
                }
            }
        }
        (script())
    };
    Some(Growing { page: document(&format!("{place}: goes on"), &body), goes_on })
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn a_run_that_is_being_written_is_shown_as_far_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("client-pause/20261123-092935-7");
        let place = folder.join("red<lock>");
        fs::create_dir_all(&place).unwrap();
        assert!(unjudged(root.path()).is_empty() && page(root.path(), &folder).is_none());
        let history = &sample::report().locks[0].history;
        let lines: Vec<String> = history.ops.iter().map(|op| serde_json::to_string(op).unwrap() + "\n").collect();
        let header = serde_json::to_string(&history.header).unwrap() + "\n";
        fs::write(place.join(HISTORY), header + &lines[..10].concat() + &lines[10][..20]).unwrap();
        assert_eq!(unjudged(root.path()), [Path::new("client-pause/20261123-092935-7")]);
        let early = page(root.path(), &folder).unwrap();
        assert!(early.goes_on && early.page.contains("10 ops") && !early.page.contains("<lock>"), "{}", early.page);
        let mut file = OpenOptions::new().append(true).open(place.join(HISTORY)).unwrap();
        file.write_all((lines[10][20..].to_owned() + &lines[11..].concat()).as_bytes()).unwrap();
        let all = format!("{} ops", lines.len());
        assert!(page(root.path(), &folder).unwrap().page.contains(&all), "it grows");
        fs::write(folder.join(RUN), "{}").unwrap();
        assert!(unjudged(root.path()).is_empty() && !page(root.path(), &folder).unwrap().goes_on);
    }
}
