//! A history in JSON lines is read or refused with its line; read, it is written again as it was, and judged.
#![no_main]

use std::path::Path;

use fencepost::history::file::{self, HistoryError};
use fencepost::history::{CutOff, History};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

const KINDS: [&[&str]; 5] = [
    &["\"invoke\"", "\"ok\"", "\"fail\"", "\"info\""],
    &[
        "\"acquire\"",
        "\"release\"",
        "\"lost\"",
        "\"read\"",
        "\"write\"",
        "\"stall\"",
        "\"crash\"",
        "\"fault\"",
        "\"heal\"",
    ],
    &[
        "\"process\":1",
        "\"process\":2",
        "\"process\":\"nemesis\"",
        "\"process\":\"resource\"",
        "\"process\":\"monitor\"",
    ],
    &["\"c1-1\"", "\"c2-1\"", "\"c1-2\"", "\"c3-1\""],
    &["\"version\"", "\"based-on\"", "\"valid-until\"", "\"since\"", "\"token\"", "\"error\""],
];

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fencepost_fuzz::mutate(&KINDS, data, size, max_size, seed)
});

fuzz_target!(|data: &[u8]| {
    let path = Path::new("fuzz.jsonl");
    let history = match file::read_from(data, path) {
        Ok(history) => history,
        Err(HistoryError::Malformed { line, reason, .. }) => {
            assert!((1..=data.split(|byte| *byte == b'\n').count()).contains(&line), "{line}: {reason}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let mut written = Vec::new();
    file::write_to(&mut written, &history).expect("memory can be written");
    let again = file::read_from(&written[..], path).expect("what was written can be read");
    // Why a history is cut off is not written; that it is shows in the missing mark.
    let cut_off = history.cut_off.as_ref().map(|_| CutOff::NoMark);
    assert_eq!(again, History { cut_off, ..history.clone() });
    fencepost_fuzz::judge(&history);
});
