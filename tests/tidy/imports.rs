//! Who imports whom: the tree of modules, the paths that each file names, the circles that they make.
//!
//! A path counts for the file in which its item is declared: what a module hands on with `pub use` is looked up where
//! it comes from. A module and the modules inside of it are one thing here, so the way from one to the other is no
//! import. Left out: code for tests, and what a glob or a macro brings.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// The path of a module; first the crate, `fencepost` or `main`.
type Module = Vec<String>;

pub struct Imports {
    /// File by file, the files that it imports.
    pub files: BTreeMap<String, BTreeSet<String>>,
}

struct Tree<'a> {
    files: BTreeMap<Module, &'a Source>,
    /// What each module hands on, by the name that it gives it.
    handed_on: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
}

impl Imports {
    pub fn of(sources: &[Source]) -> Self {
        let tree = Tree::of(sources);
        let mut files = BTreeMap::new();
        for (module, source) in &tree.files {
            let imported: &mut BTreeSet<String> = files.entry(source.path.clone()).or_default();
            for path in paths(&source.code) {
                let Some(target) = tree.resolve(module, &path.segments, 0) else { continue };
                if !target.starts_with(module) && !module.starts_with(&target) {
                    imported.insert(tree.files[&target].path.clone());
                }
            }
        }
        Self { files }
    }

    /// Every set of files of which each reaches each.
    pub fn circles(&self) -> Vec<Vec<&str>> {
        let reach: BTreeMap<&str, BTreeSet<&str>> =
            self.files.keys().map(|file| (&**file, self.reached(file))).collect();
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for (file, reached) in &reach {
            let circle: Vec<&str> = reached.iter().copied().filter(|other| reach[other].contains(file)).collect();
            if circle.len() > 1 && seen.insert(circle.clone()) {
                circles.push(circle);
            }
        }
        circles
    }

    fn reached<'a>(&'a self, file: &'a str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut open = vec![file];
        while let Some(file) = open.pop() {
            let fresh = self.files.get(file).into_iter().flatten().filter(|other| self.files.contains_key(*other));
            open.extend(fresh.map(String::as_str).filter(|other| reached.insert(*other)));
        }
        reached
    }
}

impl<'a> Tree<'a> {
    fn of(sources: &'a [Source]) -> Self {
        let by_path: BTreeMap<&str, &Source> = sources.iter().map(|source| (&*source.path, source)).collect();
        let of_main = by_path.get("src/main.rs").map(|main| declared(&main.code)).unwrap_or_default();
        let mut files: BTreeMap<Module, &Source> = BTreeMap::new();
        for source in sources {
            files.insert(module_of(&source.path, &of_main), source);
        }
        let for_tests: Vec<Module> = files
            .iter()
            .flat_map(|(module, source)| {
                source.test_modules.iter().map(|name| [&module[..], std::slice::from_ref(name)].concat())
            })
            .collect();
        files.retain(|module, _| !for_tests.iter().any(|tests| module.starts_with(tests)));
        let handed_on = files.iter().map(|(module, source)| {
            let paths = paths(&source.code).into_iter().filter_map(|path| Some((path.handed_on_as?, path.segments)));
            (module.clone(), paths.collect())
        });
        Self { handed_on: handed_on.collect(), files }
    }

    /// The module in whose file an item is declared.
    fn resolve(&self, from: &Module, segments: &[String], depth: u32) -> Option<Module> {
        let (first, rest) = segments.split_first()?;
        let mut at = match &**first {
            "crate" => vec![from[0].clone()],
            "fencepost" => vec!["fencepost".to_owned()],
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1).filter(|&len| len > 0)?].to_vec(),
            name => {
                let child = [&from[..], &[name.to_owned()]].concat();
                self.files.contains_key(&child).then_some(child)?
            }
        };
        for (place, name) in rest.iter().enumerate() {
            let child = [&at[..], std::slice::from_ref(name)].concat();
            if name == "super" {
                at.pop();
            } else if self.files.contains_key(&child) {
                at = child;
            } else if let Some(path) = self.handed_on.get(&at).and_then(|names| names.get(name))
                && depth < 8
            {
                let path = [&path[..], &rest[place + 1..]].concat();
                return self.resolve(&at, &path, depth + 1).or(Some(at));
            } else {
                break;
            }
        }
        self.files.contains_key(&at).then_some(at)
    }
}

fn module_of(path: &str, of_main: &BTreeSet<String>) -> Module {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut names: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|name| name == "mod" || names.len() == 1 && name == "lib") {
        names.pop();
    }
    if names == ["main"] {
        return names;
    }
    let root = if names.first().is_some_and(|name| of_main.contains(name)) { "main" } else { "fencepost" };
    names.insert(0, root.to_owned());
    names
}

/// The modules that a file declares to be files.
fn declared(code: &str) -> BTreeSet<String> {
    let words: Vec<&str> = tokens(code);
    words.windows(3).filter(|words| words[0] == "mod" && words[2] == ";").map(|words| words[1].to_owned()).collect()
}

struct Path {
    segments: Vec<String>,
    /// The name under which others find it here, if it is handed on.
    handed_on_as: Option<String>,
}

/// All paths that a file names, in `use` and within its code.
fn paths(code: &str) -> Vec<Path> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "use" {
            let public = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
            at = use_tree(&tokens, at + 1, &[], public, &mut found);
        } else if matches!(tokens[at], "crate" | "super" | "self" | "fencepost") && tokens.get(at + 1) == Some(&"::") {
            let mut segments = vec![tokens[at].to_owned()];
            while tokens.get(at + 1) == Some(&"::") && tokens.get(at + 2).is_some_and(|name| is_name(name)) {
                at += 2;
                segments.push(tokens[at].to_owned());
            }
            found.push(Path { segments, handed_on_as: None });
            at += 1;
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one branch of a `use`, and says what comes after it.
fn use_tree(tokens: &[&str], mut at: usize, prefix: &[String], public: bool, found: &mut Vec<Path>) -> usize {
    let mut segments = prefix.to_vec();
    loop {
        match tokens.get(at) {
            Some(&"{") => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at = use_tree(tokens, at, &segments, public, found);
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                return at + 1;
            }
            Some(&"::") => at += 1,
            Some(name) if is_name(name) && *name != "as" => {
                if *name != "self" || segments.is_empty() {
                    segments.push((*name).to_owned());
                }
                at += 1;
            }
            other => {
                let mut name = segments.last().cloned();
                if other == Some(&"as") {
                    name = tokens.get(at + 1).map(|name| (*name).to_owned());
                    at += 2;
                }
                at += usize::from(other == Some(&"*"));
                found.push(Path { segments, handed_on_as: name.filter(|_| public) });
                return at;
            }
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(rest.len());
        let length = match first {
            _ if word > 0 => word,
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        if !first.is_whitespace() {
            tokens.push(&rest[..length]);
        }
        rest = &rest[length..];
    }
    tokens
}
