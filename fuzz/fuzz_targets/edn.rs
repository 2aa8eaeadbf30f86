//! A history in EDN is read or refused with its line; read, it is judged, and keeps its verdicts when it is written and
//! read again.
#![no_main]

use std::collections::BTreeSet;
use std::path::Path;

use fencepost::check::{Verdict, judge_model};
use fencepost::history::file::HistoryError;
use fencepost::history::foreign::{self, Foreign, Naming};
use fencepost::history::{History, Process, edn};
use fencepost::ids::LockName;
use fencepost_fuzz::{MODELS, READINGS};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

const KINDS: [&[&str]; 4] = [
    &[":invoke", ":ok", ":fail", ":info"],
    &[":acquire", ":release", ":read", ":try_lock", ":acquire-read", ":unlock"],
    &[":process 0", ":process 1", ":process 2", ":process :nemesis"],
    &[":token", ":time", ":lock", ":value", ":fence", ":error", ":index", ":client", ":ttl"],
];

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fencepost_fuzz::mutate(&KINDS, data, size, max_size, seed)
});

fuzz_target!(|data: &[u8]| {
    let path = Path::new("fuzz.edn");
    let history = match read(data, path) {
        Ok(foreign) => foreign.history,
        Err(HistoryError::Malformed { line, reason, .. }) => {
            assert!((1..=data.split(|byte| *byte == b'\n').count()).contains(&line), "{line}: {reason}");
            assert!(reason.len() < 1_000, "{line}: a reason is one sentence, not {} bytes", reason.len());
            return;
        }
        Err(error) => panic!("{error}"),
    };
    fencepost_fuzz::judge(&history);
    let is_own_client = |op: &fencepost::history::Op| match (op.process, op.client) {
        (Process::Client(process), Some(client)) => process == client.0,
        _ => false,
    };
    // Of one owner's ops in several processes at once Knossos' notation cannot tell.
    if !history.ops.iter().all(is_own_client) {
        return;
    }
    let locks: BTreeSet<LockName> = history.ops.iter().filter_map(|op| op.lock.clone()).collect();
    for lock in &locks {
        let mut one = history.clone();
        one.ops.retain(|op| op.lock.as_ref() == Some(lock));
        let one = History { cut_off: one.cut_off, ..History::new(one.header, one.ops) };
        let first = rewritten(&one, None);
        assert_eq!(first, rewritten(&history, Some(lock)), "one lock's ops are the same alone and among others");
        let read = read(&first[..], path).expect("what was written can be read").history;
        assert_eq!(rewritten(&read, None), first);
        for model in MODELS.into_iter().filter(|model| !model.is_leased()) {
            for reading in READINGS {
                let [before, after] =
                    [&one, &read].map(|history| judge_model(history, model, reading).verdict == Verdict::Invalid);
                assert_eq!(before, after, "{model}, {reading}");
            }
        }
    }
});

fn read(data: &[u8], path: &Path) -> Result<Foreign, HistoryError> {
    let naming = Naming { readers: true, ..Naming::default() };
    foreign::read(|| Ok(data), path, &naming)
}

fn rewritten(history: &History, lock: Option<&LockName>) -> Vec<u8> {
    let mut written = Vec::new();
    edn::write_to(&mut written, history, lock).expect("memory can be written").expect("one lock");
    written
}
