//! What every page is put into: an HTML document in one style that asks for nothing else, the mark of a verdict, names
//! as ids.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::standing::Standing;
use crate::plain::plain_page;
use crate::verdict::{CheckName, Verdict};

const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");
/// The pages' script, without what only its authors need.
pub(super) fn script() -> Markup {
    let lines = SCRIPT.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    let code: String = lines.flat_map(|line| [line, "\n"]).collect();
    html! { script { (PreEscaped(code)) } }
}

/// Whatever a history smuggles in, the page loads nothing.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; form-action 'self'";

/// A whole HTML document in the pages' style, which asks for nothing else.
pub(super) fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Keeps browsers from asking for an icon.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    plain_page(page.into_string())
}

/// A verdict with its sign: never by colour alone.
pub(super) fn verdict_mark(verdict: Option<Verdict>) -> Markup {
    let (class, sign) = match verdict {
        Some(Verdict::Valid) => ("valid", "✓ "),
        Some(Verdict::Invalid) => ("invalid", "✗ "),
        Some(Verdict::Unknown) => ("unknown", "? "),
        Some(Verdict::NotApplicable) => ("none", "– "),
        None => ("none", ""),
    };
    html! { span class={ "verdict " (class) } { (sign) (verdict.map_or("did not run", Verdict::name)) } }
}

/// A check's verdict in the colour and with the sign of what it means: a broken guarantee is no harm by itself.
pub(super) fn check_mark(check: CheckName, verdict: Option<Verdict>) -> Markup {
    match Standing::of_check(check, verdict) {
        Some(Standing::Broken) => {
            html! { span.verdict.broken { (Standing::Broken.sign()) " " (Verdict::Invalid.name()) } }
        }
        _ => verdict_mark(verdict),
    }
}

/// How a lock came off.
pub(super) fn standing_mark(standing: Standing) -> Markup {
    let class = match standing {
        Standing::Kept => "valid",
        Standing::Undecided => "unknown",
        Standing::Broken => "broken",
        Standing::Harmed => "invalid",
    };
    html! { span class={ "verdict " (class) } { (standing.told()) } }
}

/// A part of an `id`: what a lock is named may hold anything.
pub(super) fn slug(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ids() {
        assert_eq!(slug("redlock 5\"s"), "redlock_5_s");
    }
}
