//! What a search came to, in words for a terminal.

use std::fmt::Write;

use crate::hunt::draw;
use crate::report::plain::plain;
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
    let plans = if hunted.lawful { "within what the locks assume" } else { "beyond what the locks assume, too" };
    let mut text = format!(
        "trials  {} of {}, {} of them different, {plans}; {:.0} simulated seconds in {:.1} CPU-seconds; seed {}\n",
        hunted.trials,
        hunted.locks.join(", "),
        hunted.distinct,
        hunted.simulated_seconds,
        hunted.cpu_seconds,
        hunted.seed
    );
    let _ = match hunted.findings.len() {
        0 => writeln!(
            text,
            "found   nothing. A bug that fires in more than {:.2} % of such trials would have shown, with 95 % confidence",
            hunted.share_excluded() * 100.0
        ),
        1 => writeln!(text, "found   1 finding, in {} of the trials", hunted.failing),
        more => writeln!(text, "found   {more} findings, in {} of the trials", hunted.failing),
    };
    let all = draw::pairs(&hunted.locks, hunted.lawful);
    let rare: Vec<String> =
        all.iter().filter(|pair| !hunted.pairs.contains_key(*pair)).take(5).map(|pair| format!("`{pair}`")).collect();
    let missed = all.iter().filter(|pair| !hunted.pairs.contains_key(*pair)).count();
    let _ = writeln!(text, "corners {} of {} (fault, role, step) struck", all.len() - missed, all.len());
    if missed > 0 {
        let _ = writeln!(text, "        never: {}{}", rare.join(", "), if missed > rare.len() { ", …" } else { "" });
    } else if let Some((pair, times)) = hunted.pairs.iter().min_by_key(|(_, times)| **times) {
        let _ = writeln!(text, "        least: `{pair}`, in {times} trials");
    }
    for finding in &hunted.findings {
        let Some(confirmed) = finding.shrunk.as_ref().and_then(|small| small.confirmed.as_ref()) else { continue };
        let (number, broken, runs) = (finding.number, confirmed.broken, confirmed.runs);
        let _ = match &confirmed.refused {
            None => writeln!(text, "servers {number}. broken there too in {broken} of {runs} runs"),
            Some(refused) => {
                writeln!(text, "servers {number}. not tried ({broken} of {runs} runs): {}", plain(refused))
            }
        };
    }
    let _ = write!(text, "folder  {}", hunted.folder.display());
    if hunted.interrupted {
        text.push_str("\ncalled off: this is what was found so far");
    }
    text
}
