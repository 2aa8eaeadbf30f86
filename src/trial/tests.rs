//! The course of a trial in a world that only takes notes, in paused time.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, ready};
use tokio::sync::{Notify, watch};

use super::course::{FINISH_LIMIT, READY_LIMIT, TrialError};
use super::leftovers::{Found, Names, Servers};
use super::{Case, Course, Lives, Looked, Opened, Word, World};
use crate::fault::{Member, Strike};
use crate::history::recorder::Record;
use crate::history::{F, Op, OpType, Probe};
use crate::ids::{ClientId, NodeId};
use crate::lock::runtime::{Runtime, SharedRuntime};
use crate::nemesis::tests::Paused;
use crate::nemesis::{Environment, FaultError};
use crate::scenario::{self, Capabilities, Scenario};
use crate::seed::Seed;
use crate::time::Nanos;

const C1: Member = Member::Client(ClientId(1));
const C2: Member = Member::Client(ClientId(2));

/// Two clients for ten seconds, of which the first is killed for two.
fn scenario(faults: &str) -> Scenario {
    let text = format!(
        "title = \"t\"\n[workload]\nkind = \"inventory\"\nclients = 2\nhold = \"1ms..3s\"\nthink = \"1ms\"\n\
         duration = \"10s\"\n[lock.a]\nalgorithm = \"redlock\"\n{faults}"
    );
    scenario::parse(Path::new("t.toml"), &text, &Capabilities::sim()).unwrap()
}

const KILL: &str = "[[fault.kill]]\ntarget = \"client:1\"\nat = \"1s\"\nfor = \"2s\"\n";

/// What the world was asked, and what was recorded, with the second in which it was.
#[derive(Default)]
struct Notes(Mutex<Vec<(u64, String)>>);

impl Notes {
    fn take(&self, runtime: &dyn Runtime, note: String) {
        self.0.lock().unwrap().push((runtime.now().0 / 1_000_000_000, note));
    }
}

/// What is heard, and in which second.
type Says = (u64, Result<(Member, Word), String>);

/// Has its members say what was set down, each at its second.
struct Play {
    runtime: SharedRuntime,
    says: VecDeque<Says>,
    notes: Arc<Notes>,
    answered: Arc<Notify>,
    heals_wait: bool,
    may_be_looked_at: bool,
}

impl Play {
    fn desk(&self) -> Desk {
        let answered = self.heals_wait.then(|| Arc::clone(&self.answered));
        Desk(Arc::clone(&self.runtime), Arc::clone(&self.notes), answered)
    }
}

/// What a heal waits for, if there is anything to heal and it is to wait.
const ANSWER: (Member, Word) = (Member::Resource, Word::Done);

#[derive(Clone)]
struct Desk(SharedRuntime, Arc<Notes>, Option<Arc<Notify>>);

impl Record for Desk {
    fn record(&self, op: Op) {
        let kind = if op.kind == OpType::Invoke { "begins" } else { "ends" };
        if op.f != F::Look || op.kind == OpType::Ok {
            self.1.take(&*self.0, format!("{:?} {kind}", op.f));
        }
    }
}

impl Environment for Desk {
    fn apply<'a>(&'a self, _: u32, _: &'a Strike, _: Duration) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn heal(&self, _: u32) -> BoxFuture<'_, Result<Vec<Probe>, FaultError>> {
        async {
            if let Some(answered) = &self.2 {
                answered.notified().await;
            }
            Ok(Vec::new())
        }
        .boxed()
    }

    fn go(&self, _: ClientId, _: u64) {}

    fn means(&self, _: &Strike) -> &'static str {
        "notes"
    }

    fn session_server(&self, _: ClientId) -> BoxFuture<'_, Option<NodeId>> {
        ready(None).boxed()
    }

    fn leader(&self) -> BoxFuture<'_, Option<NodeId>> {
        ready(None).boxed()
    }
}

impl Servers for Desk {
    fn look<'a>(&'a self, _: &'a Names) -> BoxFuture<'a, (Vec<Found>, Option<String>)> {
        ready((Vec::new(), None)).boxed()
    }
}

impl World for Play {
    const REMEDY: &'static str = "; look there";

    fn members(&self) -> BTreeSet<Member> {
        [C1, C2, Member::Resource].into()
    }

    fn name(&self, member: Member) -> String {
        format!("the {member}")
    }

    async fn hear(&mut self) -> Result<Option<(Member, Word)>, String> {
        let Some((second, _)) = self.says.front() else { return std::future::pending().await };
        self.runtime.sleep_until(Nanos(second * 1_000_000_000)).await;
        let said = self.says.pop_front().unwrap().1?;
        if said == ANSWER {
            self.answered.notify_one();
        }
        Ok(Some(said))
    }

    async fn open(&mut self) -> Result<Opened, String> {
        let desk = self.desk();
        Ok(Opened { environment: Arc::new(desk.clone()), record: Arc::new(desk), start: self.runtime.now() })
    }

    fn begin(&mut self, client: ClientId, end: Nanos) {
        self.notes.take(&*self.runtime, format!("begin {client} until {}", end.0 / 1_000_000_000));
    }

    fn stop(&mut self, client: ClientId) {
        self.notes.take(&*self.runtime, format!("stop {client}"));
    }

    fn servers(&self) -> Looked<'_> {
        let scenario = scenario("");
        let desk: Box<dyn Servers> = Box::new(self.desk());
        Ok(self.may_be_looked_at.then(|| (desk, Names::new(&scenario.locks["a"], 1, ""))))
    }
}

/// Says that all are ready, and goes on with `then`.
fn ready_then(then: &[(u64, Member, Word)]) -> Vec<Says> {
    let ready = [C1, C2, Member::Resource].map(|member| (1, Ok((member, Word::Ready))));
    ready.into_iter().chain(then.iter().cloned().map(|(second, member, word)| (second, Ok((member, word))))).collect()
}

/// Runs the course; how it ended, and what was asked and recorded. The run is called off in the second `stopped`.
fn play(faults: &str, says: Vec<Says>, stopped: Option<u64>) -> (Result<(), TrialError>, Vec<(u64, String)>) {
    play_in(faults, says, stopped, |_| {})
}

/// As [`play`], in a world that is changed before.
fn play_in(
    faults: &str,
    says: Vec<Says>,
    stopped: Option<u64>,
    change: impl FnOnce(&mut Play),
) -> (Result<(), TrialError>, Vec<(u64, String)>) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio.block_on(async {
        let runtime: SharedRuntime = Arc::new(Paused::new());
        let notes = Arc::new(Notes::default());
        let (stop, stop_heard) = watch::channel(false);
        let scenario = scenario(faults);
        let case = Case::of(&scenario, "a", Seed(1)).unwrap();
        let course = Course { case, lives: Arc::new(Lives::new(2)), runtime: Arc::clone(&runtime), stop: stop_heard };
        let mut world = Play {
            runtime: Arc::clone(&runtime),
            says: says.into(),
            notes: Arc::clone(&notes),
            answered: Arc::default(),
            heals_wait: false,
            may_be_looked_at: true,
        };
        change(&mut world);
        let stops = async {
            match stopped {
                Some(second) => runtime.sleep_until(Nanos(second * 1_000_000_000)).await,
                None => return std::future::pending().await,
            }
            let _ = stop.send(true);
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = course.run(&mut world) => ended,
            () = stops => unreachable!("it waits"),
            () = runtime.sleep_until(Nanos(1_000_000_000_000)) => panic!("it never ends: {:?}", notes.0.lock().unwrap()),
        };
        let notes = notes.0.lock().unwrap().drain(..).collect();
        (ended, notes)
    })
}

fn told(notes: &[(u64, String)]) -> Vec<(u64, &str)> {
    notes.iter().map(|(second, note)| (*second, &**note)).collect()
}

#[test]
fn a_trial_begins_when_all_are_ready_and_ends_with_a_look_when_all_are_done() {
    let says = ready_then(&[(11, C2, Word::Done), (12, C1, Word::Done), (12, C1, Word::Ended)]);
    let (ended, notes) = play("", says, None);
    assert_eq!(ended, Ok(()));
    assert_eq!(told(&notes), [(1, "begin c1 until 11"), (1, "begin c2 until 11"), (12, "Look ends")]);
}

#[test]
fn servers_that_may_not_be_looked_at_are_left_alone() {
    let says = ready_then(&[(11, C2, Word::Done), (12, C1, Word::Done)]);
    let (ended, notes) = play_in("", says, None, |world| world.may_be_looked_at = false);
    assert_eq!(ended, Ok(()));
    assert_eq!(told(&notes), [(1, "begin c1 until 11"), (1, "begin c2 until 11")]);
}

/// A heal asks a member whether it is right again. So members are heard until the nemesis is gone, whatever has ended
/// the trial, and whatever they say that cannot be recorded.
#[test]
fn a_heal_has_its_answer_also_where_the_trial_cannot_go_on() {
    let (member, word) = ANSWER;
    let no_disk = || Err("no disk".to_owned());
    let then = [(3, no_disk()), (4, no_disk()), (5, Ok((C2, Word::Done))), (6, Ok((member, word)))];
    let says = ready_then(&[]).into_iter().chain(then).collect();
    let (ended, notes) = play_in(KILL, says, None, |world| world.heals_wait = true);
    assert_eq!(ended, Err(TrialError::World("no disk".to_owned())));
    assert!(told(&notes).contains(&(6, "Heal ends")), "{notes:?}");
}

#[test]
fn a_client_that_was_killed_begins_again_and_is_waited_for() {
    let done = [(4, C1, Word::Ready), (11, C1, Word::Done), (11, C2, Word::Done)];
    let (ended, notes) = play(KILL, ready_then(&done), None);
    assert_eq!(ended, Ok(()));
    let expected = [
        (1, "begin c1 until 11"),
        (1, "begin c2 until 11"),
        (2, "Fault begins"),
        (2, "Fault ends"),
        (4, "Heal begins"),
        (4, "Heal ends"),
        (4, "begin c1 until 11"),
    ];
    let (before_look, look) = notes.split_at(expected.len());
    let mut sorted = told(before_look);
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert!(matches!(told(look)[..], [(11.., "Look ends")]), "{look:?}");
    // One that was done before is waited for all the same.
    let late = [(2, C1, Word::Done), (4, C1, Word::Ready), (11, C2, Word::Done)];
    assert!(matches!(play(KILL, ready_then(&late), None).0, Err(TrialError::NotDone { .. })));
}

#[test]
fn one_that_is_called_off_is_brought_to_its_end_and_not_looked_at() {
    let says = ready_then(&[(6, C1, Word::Ready), (7, C1, Word::Done), (7, C2, Word::Done)]);
    let (ended, notes) = play(KILL, says, Some(3));
    assert_eq!(ended, Ok(()));
    let asked: Vec<_> = told(&notes).into_iter().filter(|(_, note)| !note.contains("egins")).collect();
    let expected = [
        (1, "begin c1 until 11"),
        (1, "begin c2 until 11"),
        (2, "Fault ends"),
        (3, "Heal ends"),
        (3, "stop c1"),
        (3, "stop c2"),
        (6, "begin c1 until 11"),
        (6, "stop c1"),
    ];
    let mut sorted = asked;
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!(play("", Vec::new(), Some(0)).0, Err(TrialError::CalledOff));
}

#[test]
fn every_end_that_is_none_is_told_in_words() {
    let failed = || Word::Failed("no server".to_owned());
    for (says, told) in [
        (
            vec![(1, Ok((C2, Word::Ready)))],
            format!("not ready within {READY_LIMIT:?}: the c1, the resource; look there"),
        ),
        (vec![(1, Ok((C2, failed())))], "the c2: no server".to_owned()),
        (vec![(1, Ok((C2, Word::Ended)))], "the c2 ended before the trial began".to_owned()),
        (vec![(1, Err("no disk".to_owned()))], "no disk".to_owned()),
        (ready_then(&[(11, C2, Word::Done)]), format!("not done {:?} after the end: the c1", allowance())),
        (ready_then(&[(2, C2, failed())]), "the c2: no server".to_owned()),
        (ready_then(&[(2, C2, Word::Ended)]), "the c2 ended before the trial did".to_owned()),
        (ready_then(&[(2, Member::Resource, Word::Ended)]), "the resource ended before the trial did".to_owned()),
    ] {
        let (ended, notes) = play(KILL, says, None);
        assert_eq!(ended.unwrap_err().to_string(), told);
        let begun = notes.iter().filter(|(_, note)| note == "Fault begins").count();
        let undone = notes.iter().filter(|(_, note)| note == "Heal ends").count();
        assert_eq!(begun, undone, "{told}: faults are undone");
        assert!(!notes.iter().any(|(_, note)| note == "Look ends"), "{told}");
    }
}

/// The longest hold and the fault.
fn allowance() -> Duration {
    FINISH_LIMIT + Duration::from_secs(3) + Duration::from_secs(2)
}
