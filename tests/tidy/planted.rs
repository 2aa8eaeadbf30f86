//! The rules are seen to fail: one break of each, planted in sources that are made up.

use crate::rules::{begins_with_its_purpose, comments_fit, files_are_short, no_backend_named, no_circles, one_way};
use crate::source::Source;

fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(path, text)| Source::new(path, text)).collect()
}

#[test]
fn a_circle_is_found_through_three_files_and_what_is_handed_on() {
    let mut files = vec![
        ("src/lib.rs", "mod a; mod b; mod c;"),
        ("src/a.rs", "use crate::b::{self, Thing as Other};"),
        ("src/b/mod.rs", "mod inner;\npub(crate) use inner::Thing;"),
        ("src/b/inner.rs", "pub struct Thing(crate::c::Part);"),
        ("src/c.rs", "//! use crate::a::A;\nconst TEXT: &str = \"use crate::a::A;\";\npub struct Part;"),
    ];
    assert_eq!(no_circles(&sources(&files), &[]), [""; 0], "neither a comment nor a text imports");
    files[4].1 = "use crate::a::A;\npub struct Part;";
    assert_eq!(no_circles(&sources(&files), &[]), ["import each other in a circle: src/a.rs src/b/inner.rs src/c.rs"]);
    assert_eq!(no_circles(&sources(&files), &[("src/a.rs src/b/inner.rs src/c.rs", "why not")]), [""; 0]);
    files[4].1 = "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\npub struct Part;";
    assert_eq!(
        no_circles(&sources(&files), &[("src/a.rs src/b/inner.rs src/c.rs", "why not")]),
        ["src/a.rs src/b/inner.rs src/c.rs: its exception is no longer needed"],
        "tests may import whom they like"
    );
}

#[test]
fn an_import_against_the_arrow_is_found() {
    let arrow: &[(&str, &[&str])] = &[("lib", &[]), ("history", &[]), ("check", &["history"]), ("main", &["check"])];
    let files = [
        ("src/lib.rs", ""),
        ("src/history/mod.rs", "pub fn judged() { crate::check::judge(); }"),
        ("src/check.rs", "use super::history::Op;"),
        ("src/main.rs", "use fencepost::check::judge;"),
        ("src/extra.rs", ""),
    ];
    let complaints = one_way(&sources(&files), arrow, &[]);
    assert_eq!(
        complaints,
        [
            "src/extra.rs: the arrow has no room extra",
            "src/history/mod.rs imports src/check.rs, and history may not know check"
        ]
    );
    let excepted = one_way(&sources(&files[..4]), arrow, &[("src/history/ -> src/check.rs", "why not")]);
    assert_eq!(excepted, [""; 0]);
    assert_eq!(
        one_way(&sources(&files[..4]), arrow, &[("src/history/", "why not")]).len(),
        2,
        "of whom it does not say"
    );
    let bent: &[(&str, &[&str])] = &[("history", &["check"]), ("check", &["history"])];
    assert_eq!(one_way(&[], bent, &[]), ["history may import check, which does not stand before it"]);
}

#[test]
fn a_backends_name_is_found_in_names_and_texts() {
    let named = "//! Redis may be spoken of.\nfn of() -> Option<RedisNode> { None }";
    let told = "#[cfg(test)]\nmod tests { const ETCD: u8 = 1; }\nconst WHO: char = '\"';\nconst WHAT: &str = r#\"a \"ZooKeeper\"\"#;";
    let fine = "// Etcd\nfn fetched() {}\n#[cfg(test)]\nmod etcd_tests;";
    let files = [
        ("src/lock/redis.rs", named),
        ("src/named.rs", named),
        ("src/told.rs", told),
        ("src/fine.rs", fine),
        ("src/fine/etcd_tests.rs", named),
    ];
    assert_eq!(
        no_backend_named(&sources(&files), &[("src/lock/", "its room")]),
        ["src/named.rs:2 names redis", "src/told.rs:4 names zookeeper"]
    );
    let needless = no_backend_named(&sources(&files[3..]), &[("src/lock/", "its room")]);
    assert_eq!(needless, ["src/lock/: its exception is no longer needed"]);
}

#[test]
fn a_module_without_a_beginning_is_found() {
    let files =
        [("src/a.rs", "//! What lives here.\n"), ("src/b.rs", "use std::fmt;\n"), ("src/c.rs", "//!\n//! No.\n")];
    let complaints = begins_with_its_purpose(&sources(&files));
    assert_eq!(complaints.len(), 2);
    assert!(complaints[0].starts_with("src/b.rs") && complaints[1].starts_with("src/c.rs"), "{complaints:?}");
}

#[test]
fn a_wide_comment_is_found() {
    let (words, table, word) = ("ä ".repeat(60), "x ".repeat(80), "x".repeat(130));
    let wide =
        format!("//! Fine.\nfn f() {{}}\n    /// {words}\n// | {table}\n// {word}\n/// ```\n/// {table}\n/// ```\n");
    let files = [("src/a.rs", &*wide)];
    assert_eq!(comments_fit(&sources(&files), &[]), ["src/a.rs:3: a comment of more than 120 characters"]);
    assert_eq!(comments_fit(&sources(&files), &[("src/a.rs", "why not")]), [""; 0]);
}

#[test]
fn a_long_file_is_found_and_one_that_grew_and_one_that_shrank() {
    let long = "\n".repeat(501);
    let files = [("src/a.rs", &*long), ("src/b.rs", &*long), ("src/c.rs", "\n"), ("src/d.rs", &*long)];
    assert_eq!(
        files_are_short(
            &sources(&files),
            &[("src/b.rs", 500), ("src/c.rs", 600), ("src/d.rs", 501), ("src/e.rs", 700)]
        ),
        [
            "src/a.rs has 501 lines, and may have 500",
            "src/b.rs has 501 lines, and may have 500",
            "src/c.rs: its exception is no longer needed",
            "src/e.rs: its exception is no longer needed",
        ]
    );
}
