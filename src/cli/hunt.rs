//! What a search came to, in words for a terminal.

use std::fmt::Write;

use crate::plain::plain;
use crate::run::{Finding, Hunted, Small};

/// One finding, as it is found.
pub fn found(finding: &Finding) -> String {
    let broken: Vec<String> = finding.broken.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "found   {}. {} breaks {} in trial {}\n        {}\n",
        finding.number,
        finding.lock,
        broken.join(", "),
        finding.trial,
        plain(&finding.text)
    );
    if !finding.beyond.is_empty() {
        let _ = writeln!(text, "        beyond what it assumes: {}", finding.beyond.join("; "));
    }
    let _ = write!(text, "        {} (seed {})", finding.scenario.display(), finding.seed);
    text
}

/// What shrinking left.
pub fn small(small: &Small) -> String {
    format!(
        "shrunk  {}\n        {}\n        fencepost run {} --seed {}",
        plain(&small.title),
        small.told(),
        small.scenario.display(),
        small.seed
    )
}

/// What the whole search is worth.
pub fn summary(hunted: &Hunted) -> String {
    let mut text = format!("trials  {}\n        {}\n", hunted.about(), hunted.effort());
    let _ = match hunted.findings.len() {
        0 => writeln!(text, "found   nothing"),
        1 => writeln!(text, "found   1 finding, in {} of the trials", hunted.failing),
        more => writeln!(text, "found   {more} findings, in {} of the trials", hunted.failing),
    };
    let worth = &hunted.worth;
    for (place, sentence) in worth.sentences().iter().enumerate() {
        let _ = writeln!(text, "{:8}{sentence}", if place == 0 { "worth" } else { "" });
    }
    let never: Vec<String> = worth.never().take(3).map(|corner| format!("`{corner}`")).collect();
    let _ = match worth.least.first() {
        _ if !never.is_empty() => writeln!(text, "never   {}, …", never.join(", ")),
        Some((corner, trials)) => writeln!(text, "least   `{corner}`, in {trials} trials"),
        None => Ok(()),
    };
    for finding in &hunted.findings {
        let Some(confirmed) = finding.shrunk.as_ref().and_then(|small| small.confirmed.as_ref()) else { continue };
        let _ = writeln!(text, "servers {}. {}", finding.number, plain(&confirmed.told()));
    }
    let _ = write!(text, "folder  {} (index.html, hunt.json)", hunted.folder.display());
    if hunted.interrupted {
        text.push_str("\ncalled off: this is what was found so far");
    }
    text
}
