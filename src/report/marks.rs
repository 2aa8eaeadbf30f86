//! Marks of one look in one picture: one path for all of them, and what each says as compact data.
//!
//! A run has thousands of marks: an element and a hover text for each would be most of its page. The page's script
//! reads the same data and says what the mark under the pointer is (`assets/page.js`). Deliberately absent: marks that
//! a story hangs on, which are few and stay elements of their own.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::lanes::n;
use super::patterns::Patterns;

/// Marks that look the same.
pub(super) struct Marks {
    /// How many steps there are in a unit of the picture.
    fine: f64,
    /// Where the last mark ended, in those steps.
    pen: Option<(i64, i64)>,
    shape: String,
    texts: Vec<String>,
}

impl Marks {
    /// For a picture that is looked at as it is: a tenth of a unit is less than a pixel.
    pub fn still() -> Self {
        Self { fine: 10.0, pen: None, shape: String::new(), texts: Vec::new() }
    }

    /// For a picture that can be zoomed.
    pub fn zoomed() -> Self {
        Self { fine: 100.0, ..Self::still() }
    }

    fn steps(&self, value: f64) -> i64 {
        (value * self.fine).round() as i64
    }

    /// A number of steps, as short as a path may have it.
    fn number(&self, steps: i64) -> String {
        let text = n(steps as f64 / self.fine);
        match text.split_once("0.") {
            Some((sign @ ("" | "-"), decimals)) => format!("{sign}.{decimals}"),
            _ => text,
        }
    }

    fn pair(&self, x: i64, y: i64) -> String {
        let (x, y) = (self.number(x), self.number(y));
        let gap = if y.starts_with('-') { "" } else { " " };
        format!("{x}{gap}{y}")
    }

    fn go(&mut self, x: i64, y: i64) {
        self.shape += &match self.pen {
            None => format!("M{}", self.pair(x, y)),
            Some((from_x, from_y)) => format!("m{}", self.pair(x - from_x, y - from_y)),
        };
        self.pen = Some((x, y));
    }

    /// A bar; its height is that of all, and `y` its middle.
    pub fn bar(&mut self, (x, width): (f64, f64), y: f64) {
        let (x, y) = (self.steps(x), self.steps(y));
        // What is too thin for a step is not left out.
        let width = self.steps(width).max(1);
        self.go(x, y);
        self.shape += &format!("h{}", self.number(width));
        self.pen = Some((x + width, y));
    }

    /// An upright stroke; every other one is drawn upwards, which leaves the pen where the next one starts.
    pub fn upright(&mut self, x: f64, y: f64, height: f64) {
        let (x, y, height) = (self.steps(x), self.steps(y), self.steps(height));
        let upwards = self.pen.is_some_and(|(_, pen)| pen == y + height);
        let (from, by) = if upwards { (y + height, -height) } else { (y, height) };
        self.go(x, from);
        self.shape += &format!("v{}", self.number(by));
        self.pen = Some((x, from + by));
    }

    /// A place where a sign stands ([`signs`]).
    pub fn point(&mut self, x: f64, y: f64) {
        let (x, y) = (self.steps(x), self.steps(y));
        match self.pen {
            None => self.go(x, y),
            Some((from, same)) if same == y => self.shape += &format!("h{}", self.number(x - from)),
            Some((from_x, from_y)) => self.shape += &format!("l{}", self.pair(x - from_x, y - from_y)),
        }
        self.pen = Some((x, y));
    }

    /// What the last mark says, which is something. Either all marks say something, or none does.
    pub fn says(&mut self, text: String) {
        self.texts.push(text);
    }

    /// What all of them say: of each text the number of its pattern unless it is the one before's, and its words unless
    /// they are those that the pattern had before.
    fn told(&self, patterns: &Patterns) -> Option<String> {
        let mut before = usize::MAX;
        let mut known: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        let told = self.texts.iter().map(|text| {
            let (pattern, words) = patterns.split(text);
            let mut told = if pattern == before { String::new() } else { pattern.to_string() };
            let same = known.entry(pattern).or_default();
            for (place, word) in words.iter().enumerate() {
                told.push(' ');
                told += &same.get(place).map_or_else(|| word.clone(), |before| shortened(word, before));
            }
            (before, *same) = (pattern, words);
            told.trim_end().to_owned()
        });
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| told.join(","))
    }

    /// Bars of one height.
    pub fn bars(&self, class: &str, height: f64, patterns: &Patterns) -> Markup {
        html! {
            @if !self.shape.is_empty() {
                path class={ "row " (class) } stroke-width=(n(height)) d=(self.shape) data-told=[self.told(patterns)] {}
            }
        }
    }

    /// Upright strokes.
    pub fn uprights(&self, class: &str) -> Markup {
        html! { @if !self.shape.is_empty() { path class=(class) d=(self.shape) {} } }
    }

    /// A sign at each point; `also` is a class with a space before it, or nothing.
    pub fn points(&self, sign: &str, also: &str, patterns: &Patterns) -> Markup {
        // A path that goes nowhere is not drawn.
        let alone = if self.shape.contains(['h', 'l']) { "" } else { "h0" };
        html! {
            @if !self.shape.is_empty() {
                path class={ "points" (also) } style={ "marker:url(#sign-" (sign) ")" } d={ (self.shape) (alone) } data-told=[self.told(patterns)] {}
            }
        }
    }
}

/// So many letters at least are worth not being written again, and so many at most have a letter that says how many.
const SHARED: std::ops::RangeInclusive<usize> = 3..=25;

/// A word without what it shares with the one before: nothing if all, else how much, as a letter after a `~`.
fn shortened(word: &str, before: &str) -> String {
    if word == before {
        return String::new();
    }
    let same = word.char_indices().zip(before.chars()).take_while(|((_, one), other)| one == other);
    let (letters, bytes) = same.fold((0, 0), |(letters, _), ((at, c), _)| (letters + 1, at + c.len_utf8()));
    match u8::try_from(letters) {
        Ok(number) if SHARED.contains(&letters) => format!("~{}{}", char::from(b'a' + number), &word[bytes..]),
        _ => word.to_owned(),
    }
}

/// The word that was shortened.
#[cfg(test)]
fn lengthened(word: &str, before: &str) -> String {
    match word.strip_prefix('~') {
        None if word.is_empty() => before.to_owned(),
        None => word.to_owned(),
        Some(rest) => {
            let letters = usize::from(rest.as_bytes()[0] - b'a');
            before.chars().take(letters).chain(rest.chars().skip(1)).collect()
        }
    }
}

/// The signs that stand at points: a refusal, and accesses of the resource.
pub(super) fn signs() -> Markup {
    const READ: &str = "M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0-8.4 0z";
    const WRITE: &str = "M0-5.5l5.5 5.5-5.5 5.5-5.5-5.5z";
    let signs = [
        ("cross", "refused-vote", "M-2.5-2.5l5 5m-5 0l5-5"),
        ("read", "accepted", READ),
        ("read-refused", "refused", READ),
        ("write", "accepted", WRITE),
        ("write-refused", "refused", WRITE),
    ];
    html! {
        @for (id, class, shape) in signs {
            marker id={ "sign-" (id) } markerUnits="userSpaceOnUse" overflow="visible" { path class=(class) d=(shape) {} }
        }
    }
}

/// The texts of all marks of a picture that say something, as the script reads them.
#[cfg(test)]
pub(super) fn texts(svg: &str) -> Vec<String> {
    use super::patterns::{BLANK, BREAK};
    let attribute = |tag: &str, name: &str| {
        let value = tag.split(&format!("{name}=\"")).nth(1)?.split('"').next()?;
        Some(value.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&"))
    };
    let mut texts = Vec::new();
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut scene = String::new();
    for tag in svg.split('<') {
        if let Some(fresh) = attribute(tag, "data-patterns") {
            scene = attribute(tag, "data-scene").unwrap_or_default();
            let fresh = fresh.split(BREAK).filter(|pattern| !pattern.is_empty()).map(str::to_owned);
            known.entry(scene.clone()).or_default().extend(fresh);
        }
        let patterns = known.get(&scene).map_or(&[][..], Vec::as_slice);
        let mut pattern = 0;
        let mut known: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for told in attribute(tag, "data-told").iter().flat_map(|told| told.split(',')) {
            let mut words = told.split(' ');
            pattern = words.next().and_then(|number| number.parse().ok()).unwrap_or(pattern);
            let same = known.entry(pattern).or_default();
            let parts: Vec<&str> = patterns[pattern].split(BLANK).collect();
            same.resize(parts.len() - 1, String::new());
            for word in same.iter_mut() {
                *word = lengthened(words.next().unwrap_or_default(), word);
            }
            let words = same.iter().map(String::as_str).chain([""]);
            texts.push(parts.iter().zip(words).flat_map(|(part, word)| [*part, word]).collect());
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_drawn_from_each_other_and_stand_where_they_were_put() {
        let mut bars = Marks::still();
        bars.bar((84.0, 5.52), 20.0);
        bars.bar((100.0, 0.01), 20.0);
        bars.bar((90.0, 3.0), 52.5);
        assert_eq!(bars.shape, "M84 20h5.5m10.5 0h.1m-10.1 32.5h3");
        let mut uprights = Marks::zoomed();
        for x in [1.0, 2.25, 2.0] {
            uprights.upright(x, 10.0, 5.0);
        }
        assert_eq!(uprights.shape, "M1 10v5m1.25 0v-5m-.25 0v5");
        let mut points = Marks::still();
        for (x, y) in [(10.0, 4.0), (9.5, 4.0), (12.0, 3.0)] {
            points.point(x, y);
        }
        assert_eq!(points.shape, "M10 4h-.5l2.5-1");
    }

    #[test]
    fn what_marks_say_is_read_back_to_the_letter() {
        let said = [
            "c5 held item-1 for 54ms: 1.234s – 1.288s (released), token 78, hold c5-15",
            "c5 held item-1 for 54ms: 1.234s – 1.288s (released), token 78, hold c5-15",
            "c5 held item-1 for 3ms: 1.300s – 1.303s (released), token 79, hold c5-16",
            "1767225600004231 µs12345678901234567890123456789 no",
            "1767225600004245 µs12345678901234567890123456780 no",
            "1767225600004245 µs1234567890123456789012345678 no",
            "no number at all",
            "a “lock\" of <b> & c1, item 2",
            "c4 held item-1 for 3ms: 1.400s – 1.403s (released), token 80, hold c4-1",
            "7",
        ];
        let patterns = Patterns::default();
        let mut marks = Marks::still();
        for (at, text) in said.into_iter().enumerate() {
            marks.bar((at as f64, 1.0), 0.0);
            marks.says(text.to_owned());
        }
        let path = marks.bars("hold", 4.0, &patterns).into_string();
        let svg = html! { svg data-patterns=(patterns.fresh()) {} }.into_string() + &path;
        assert_eq!(texts(&svg), said);
        assert!(path.contains(",,   3ms 1.300s 1.303s 79 ~e6,"), "only what changes is written again: {path}");
    }

    #[test]
    fn a_text_cannot_pass_for_a_pattern() {
        let patterns = Patterns::default();
        let mut marks = Marks::still();
        marks.bar((0.0, 1.0), 0.0);
        marks.says("a\u{fffc}b\nc 1".to_owned());
        let path = marks.bars("hold", 4.0, &patterns).into_string();
        let svg = html! { svg data-patterns=(patterns.fresh()) {} }.into_string() + &path;
        assert_eq!(texts(&svg), ["a b c 1"]);
    }
}
