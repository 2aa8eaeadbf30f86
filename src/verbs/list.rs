//! `list`: scenarios, and locks.

use std::path::Path;

use anyhow::Context;
use fencepost::defendant::registry;
use fencepost::plain::plain;
use fencepost::scenario;

use super::console::say;
use super::failure::{BAD_REQUEST, Failure};

pub fn list(folder: &Path) -> Result<u8, Failure> {
    let listed = scenario::list(folder)
        .with_context(|| format!("cannot list {}; name the folder that holds the scenario files", folder.display()))
        .map_err(Failure::bad_request)?;
    let width = listed.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    let mut code = 0;
    for scenario in listed {
        match scenario.title {
            Ok(title) => say(&format!("{:width$}  {}", plain(&scenario.name), plain(&title)))?,
            Err(error) => {
                code = BAD_REQUEST;
                say(&format!("{:width$}  (cannot be read)\n{error}", plain(&scenario.name)))?;
            }
        }
    }
    Ok(code)
}

/// The algorithms that a scenario can name.
pub fn locks() -> String {
    let sound = registry::algorithms().filter(|algorithm| algorithm.flaw().is_none());
    let sound = sound.map(|algorithm| format!("{}\n  {}", algorithm.name(), algorithm.about()));
    let canaries = registry::algorithms().filter_map(|algorithm| algorithm.flaw());
    let canaries = canaries.map(|about| format!("{}\n  {}\n  {}", about.name, about.flaw, about.source));
    sound.chain(["\nCanaries, which must be caught:".to_owned()]).chain(canaries).collect::<Vec<_>>().join("\n")
}
