//! What is written for Knossos.

use std::path::Path;

use super::super::CutOff;
use super::*;
use crate::history::foreign::{Foreign, Naming, read};
use crate::history::{F, History, Op, OpType, Process};
use crate::ids::{ClientId, HoldId, LockName};
use crate::time::Nanos;

fn foreign(text: &str) -> Foreign {
    read(|| Ok(text.as_bytes()), Path::new("test.edn"), &Naming::default()).unwrap()
}

fn written(ops: Vec<Op>) -> String {
    let history = History::new(crate::history::recorder::tests::header(), ops);
    let mut written = Vec::new();
    write_to(&mut written, &history, None).unwrap().unwrap();
    let written = String::from_utf8(written).unwrap();
    // What marks the end is a test of its own.
    written.split_inclusive('\n').filter(|line| !line.starts_with(';')).collect()
}

fn op(time: u64, client: u32, kind: OpType, f: F) -> Op {
    let mut op = Op::new(Nanos(time), Process::Client(client), kind, f);
    op.client = Some(ClientId(client));
    if f != F::Crash {
        (op.lock, op.hold) = (Some(LockName::new("a \"b\"")), Some(HoldId::new(format!("c{client}-1"))));
    }
    op
}

#[test]
fn a_death_and_a_lost_signal_are_releases_of_their_lock() {
    use OpType::{Info, Invoke, Ok};
    let granted = |client| [op(1, client, Invoke, F::Acquire), op(2, client, Ok, F::Acquire)];
    for (signal, time) in [(op(3, 1, Info, F::Crash), 3), (op(4, 1, Ok, F::Lost), 4)] {
        let told = written(granted(1).into_iter().chain([signal]).collect());
        let line = |kind, index| {
            format!(
                "{{:process 0, :type :{kind}, :f :release, :value nil, :client \"c1\", :lock \"a \\\"b\\\"\", :time {time}, \
                 :index {index}}}"
            )
        };
        let lines = told.lines().filter(|line| line.starts_with('{'));
        assert_eq!(lines.skip(2).collect::<Vec<_>>(), [line("invoke", 2), line("ok", 3)]);
    }
    let died_waiting = written(vec![op(1, 1, Invoke, F::Acquire), op(2, 1, Info, F::Crash)]);
    let last = died_waiting.lines().rfind(|line| line.starts_with('{')).unwrap();
    assert!(
        last.ends_with(":info, :f :acquire, :value nil, :client \"c1\", :lock \"a \\\"b\\\"\", :time 2, :index 1}"),
        "{last}"
    );
}

#[test]
fn a_grant_tells_how_far_its_validity_got() {
    use OpType::{Invoke, Ok};
    let until = |renewed: &[(u64, u64)]| {
        let mut ops = vec![op(1, 1, Invoke, F::Acquire), op(2, 1, Ok, F::Acquire)];
        ops[1].valid_until = Some(Nanos(10));
        ops.extend(renewed.iter().map(|(at, until)| {
            let mut op = op(*at, 1, Ok, F::Extend);
            op.valid_until = Some(Nanos(*until));
            op
        }));
        let told = written(ops);
        assert_eq!(
            told.lines().filter(|line| line.starts_with('{')).count(),
            2,
            "renewals are no ops of Knossos': {told}"
        );
        let (_, until) = told.split_once(":valid-until ").unwrap();
        until.split_once(',').unwrap().0.parse::<u64>().unwrap()
    };
    assert_eq!([until(&[]), until(&[(5, 15), (14, 20)]), until(&[(5, 15), (16, 20)])], [10, 20, 15]);
}

#[test]
fn what_begins_at_an_instant_stands_before_what_ends_at_it() {
    use OpType::{Invoke, Ok};
    let told = written(vec![
        op(1, 1, Invoke, F::Acquire),
        op(1, 2, Invoke, F::Acquire),
        op(4, 2, Ok, F::Acquire),
        op(4, 1, Ok, F::Acquire),
        op(4, 1, Invoke, F::Release),
        op(4, 3, Invoke, F::Acquire),
    ]);
    let order: Vec<&str> = told.lines().map(|line| line.split(", :value").next().unwrap()).skip(2).collect();
    // Client 1's hold begins and ends at an instant at which client 2's may begin: nothing overlaps.
    let expected = [
        "{:process 2, :type :invoke, :f :acquire",
        "{:process 0, :type :ok, :f :acquire",
        "{:process 0, :type :invoke, :f :release",
        "{:process 1, :type :ok, :f :acquire",
    ];
    assert_eq!(order, expected);
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out.edn");
    let history = foreign("{:process 0, :type :invoke, :f :acquire, :value nil}").history;
    write(&to, &history, None).unwrap().unwrap();
    let before = std::fs::read(&to).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the file");
    // In the way of the file that becomes it.
    std::fs::create_dir(folder.path().join("out.edn.partial")).unwrap();
    write(&to, &history, None).unwrap_err();
    assert_eq!(std::fs::read(&to).unwrap(), before);
    // A device is written as it is, and stays one.
    write(Path::new("/dev/full"), &history, None).unwrap_err();
    write(Path::new("/dev/null"), &history, None).unwrap().unwrap();
    assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
}

#[test]
fn our_own_files_say_where_they_end_and_others_end_where_their_forms_do() {
    let mut history = foreign(
        "{:process 0, :type :invoke, :f :acquire, :value nil}\n{:process 0, :type :ok, :f :acquire, :value nil}\n",
    )
    .history;
    assert_eq!(history.cut_off, None, "somebody else's");
    let written = |history: &History| {
        let mut to = Vec::new();
        write_to(&mut to, history, None).unwrap().unwrap();
        String::from_utf8(to).unwrap()
    };
    let whole = written(&history);
    assert_eq!(foreign(&whole).history.cut_off, None);
    assert_eq!(foreign(&whole.replace('\n', "\r\n")).history.cut_off, None);
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for kept in 1..lines.len() {
        assert_eq!(foreign(&lines[..kept].concat()).history.cut_off, Some(CutOff::NoMark), "{kept} lines");
    }
    let gap = [lines[0], lines[1], lines[3]].concat();
    assert_eq!(foreign(&gap).history.cut_off, Some(CutOff::Lacks { told: 2, found: 1 }));
    history.cut_off = Some(CutOff::NoMark);
    assert_eq!(foreign(&written(&history)).history.cut_off, Some(CutOff::NoMark), "it stays so");
}

#[test]
fn what_kind_of_lock_it_is_goes_along() {
    for kind in ["mutex", "read-write", "semaphore:3"] {
        let mut history = History::new(crate::history::recorder::tests::header(), granted_twice());
        history.header.kind = kind.parse().unwrap();
        let mut text = Vec::new();
        write_to(&mut text, &history, None).unwrap().unwrap();
        for line_end in ["\n", "\r\n"] {
            let text = String::from_utf8(text.clone()).unwrap().replace('\n', line_end);
            assert_eq!(foreign(&text).history.header.kind.to_string(), kind, "{text}");
        }
    }
    let stranger = "{:process 0, :type :invoke, :f :acquire, :value nil}\n; fencepost: the last line marks the end; the lock is a read-write";
    assert!(foreign(stranger).history.header.kind.is_mutex(), "only our first line says it");
}

fn granted_twice() -> Vec<Op> {
    let acquire = |client| [op(1, client, OpType::Invoke, F::Acquire), op(2, client, OpType::Ok, F::Acquire)];
    (1..3).flat_map(acquire).collect()
}
