//! The rules, each a function of the sources and of its exceptions. What is found are complaints, one line each.
//!
//! An exception that is no longer needed is a complaint too, so that the lists only get shorter.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::Imports;
use crate::source::Source;

/// How wide a comment may be.
pub const WIDTH: usize = 120;
/// How many lines a file may have.
pub const LINES: usize = 500;
/// What only a backend's own rooms, and a lock's own file, should have to say.
const BACKENDS: [&str; 4] = ["redis", "redlock", "zookeeper", "etcd"];

/// What stands between two files of which the first imports the second.
const ARROW: &str = " -> ";

/// Who is excepted from a rule, and why. A name that ends in `/` stands for all that is below it.
pub type Exceptions<'a> = &'a [(&'a str, &'a str)];

/// Keeps count of which exceptions were needed.
struct Excepted<'a> {
    exceptions: Exceptions<'a>,
    needed: BTreeSet<&'a str>,
}

impl<'a> Excepted<'a> {
    fn new(exceptions: Exceptions<'a>) -> Self {
        Self { exceptions, needed: BTreeSet::new() }
    }

    fn has(&mut self, name: &str) -> bool {
        let of = |(excepted, _): &&(&'a str, &str)| matches(excepted, name);
        self.exceptions.iter().find(of).is_some_and(|(excepted, _)| {
            self.needed.insert(excepted);
            true
        })
    }

    fn not_needed(self) -> impl Iterator<Item = String> {
        let left = self.exceptions.iter().filter(move |(excepted, _)| !self.needed.contains(excepted));
        left.map(|(excepted, _)| format!("{excepted}: its exception is no longer needed"))
    }
}

/// Whether an exception is meant; of an import each side by itself.
fn matches(excepted: &str, name: &str) -> bool {
    let one =
        |(excepted, name): (&str, &str)| excepted == name || excepted.ends_with('/') && name.starts_with(excepted);
    excepted.split(ARROW).count() == name.split(ARROW).count() && excepted.split(ARROW).zip(name.split(ARROW)).all(one)
}

/// No file imports one that leads back to it. An exception is a circle's files, with a blank between them.
pub fn no_circles(sources: &[Source], exceptions: Exceptions<'_>) -> Vec<String> {
    let mut excepted = Excepted::new(exceptions);
    let imports = Imports::of(sources);
    let circles = imports.circles().into_iter().map(|circle| circle.join(" "));
    let circles: Vec<String> = circles.filter(|circle| !excepted.has(circle)).collect();
    circles
        .into_iter()
        .map(|circle| format!("import each other in a circle: {circle}"))
        .chain(excepted.not_needed())
        .collect()
}

/// A room, and the rooms whose data it may use.
pub type Arrow<'a> = &'a [(&'a str, &'a [&'a str])];

/// The room of a file: its module at the top, of the environment the world.
pub fn room(path: &str) -> String {
    let mut names = path.trim_start_matches("src/").trim_end_matches(".rs").split('/');
    let room = names.next().unwrap_or_default();
    match names.next() {
        Some(world @ ("sim" | "docker")) if room == "env" => format!("env/{world}"),
        _ => room.to_owned(),
    }
}

/// Rooms import only what their line of the arrow allows, and that only rooms that stand before them.
pub fn one_way(sources: &[Source], arrow: Arrow<'_>, exceptions: Exceptions<'_>) -> Vec<String> {
    let mut excepted = Excepted::new(exceptions);
    let mut complaints = Vec::new();
    for (place, (room, allowed)) in arrow.iter().enumerate() {
        for other in allowed.iter().filter(|other| !arrow[..place].iter().any(|(earlier, _)| earlier == *other)) {
            complaints.push(format!("{room} may import {other}, which does not stand before it"));
        }
    }
    let arrow: BTreeMap<&str, &[&str]> = arrow.iter().copied().collect();
    for (file, imported) in &Imports::of(sources).files {
        let from = room(file);
        let Some(allowed) = arrow.get(&*from) else {
            complaints.push(format!("{file}: the arrow has no room {from}"));
            continue;
        };
        for other in imported {
            let to = room(other);
            if to != from && !allowed.contains(&&*to) && !excepted.has(&format!("{file}{ARROW}{other}")) {
                complaints.push(format!("{file} imports {other}, and {from} may not know {to}"));
            }
        }
    }
    complaints.extend(excepted.not_needed());
    complaints
}

/// Code names no backend where it should not have to know any: neither in a name nor in a text. Comments may.
pub fn no_backend_named(sources: &[Source], exceptions: Exceptions<'_>) -> Vec<String> {
    let mut excepted = Excepted::new(exceptions);
    let mut complaints = Vec::new();
    let tests = tests_only(sources);
    for source in sources.iter().filter(|source| !tests.iter().any(|tests| source.path.starts_with(tests))) {
        let named = source.code_and_literals.lines().zip(1..).find_map(|(line, number)| {
            let line = line.to_lowercase();
            BACKENDS.iter().find(|backend| line.contains(**backend)).map(|backend| (number, backend))
        });
        if let Some((number, backend)) = named
            && !excepted.has(&source.path)
        {
            complaints.push(format!("{}:{number} names {backend}", source.path));
        }
    }
    complaints.extend(excepted.not_needed());
    complaints
}

/// What the paths of files begin with that are compiled for tests only.
fn tests_only(sources: &[Source]) -> Vec<String> {
    let of = |source: &Source| {
        let folder = source.path.trim_end_matches("mod.rs").trim_end_matches("lib.rs").trim_end_matches(".rs");
        let folder = folder.trim_end_matches('/').to_owned();
        source
            .test_modules
            .iter()
            .flat_map(|name| [format!("{folder}/{name}.rs"), format!("{folder}/{name}/")])
            .collect::<Vec<_>>()
    };
    sources.iter().flat_map(of).collect()
}

/// Every module begins with what lives there.
pub fn begins_with_its_purpose(sources: &[Source]) -> Vec<String> {
    let without = sources.iter().filter(|source| !source.text.starts_with("//! "));
    without.map(|source| format!("{}: does not begin with `//!` and what lives there", source.path)).collect()
}

/// Comments are no wider than code. A table's line cannot be broken, nor one that is a single long word; and an example
/// is code.
pub fn comments_fit(sources: &[Source], exceptions: Exceptions<'_>) -> Vec<String> {
    let mut excepted = Excepted::new(exceptions);
    let mut complaints = Vec::new();
    for source in sources {
        let mut example = false;
        for (number, line) in source.comment_lines() {
            let told = line.trim_start().trim_start_matches(['/', '!']);
            example ^= told.trim_start().starts_with("```");
            let is_code = example || told.starts_with("     ");
            let unbreakable = told.trim_start().starts_with('|') || !told.trim_start().contains(' ');
            if line.chars().count() > WIDTH && !is_code && !unbreakable && !excepted.has(&source.path) {
                complaints.push(format!("{}:{number}: a comment of more than {WIDTH} characters", source.path));
            }
        }
    }
    complaints.extend(excepted.not_needed());
    complaints
}

/// Files are short. An exception has the length that its file may have, and goes once the file is short.
pub fn files_are_short(sources: &[Source], exceptions: &[(&str, usize)]) -> Vec<String> {
    let length: BTreeMap<&str, usize> =
        sources.iter().map(|source| (&*source.path, source.text.lines().count())).collect();
    let mut complaints = Vec::new();
    for (path, lines) in length.iter().filter(|(_, lines)| **lines > LINES) {
        let allowed = exceptions.iter().find(|(excepted, _)| excepted == path).map_or(LINES, |(_, allowed)| *allowed);
        if *lines > allowed {
            complaints.push(format!("{path} has {lines} lines, and may have {allowed}"));
        }
    }
    let short = exceptions.iter().filter(|(path, _)| length.get(path).is_none_or(|lines| *lines <= LINES));
    complaints.extend(short.map(|(path, _)| format!("{path}: its exception is no longer needed")));
    complaints
}
