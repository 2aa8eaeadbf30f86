//! The bodies about Redlock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fencepost::ids::{FencingToken, LockName};
use fencepost::lock::{
    AcquireError, AcquireOptions, AttemptError, ConfigError, ExtendError, GuardState, LostReason, NodeOutcome,
    PausePoint, RedlockSettings, ReleaseOutcome, Tokens,
};
use fencepost::phase::Phase;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{Client, Fate, LONG, RedlockFixture, SHORT, SOON};

/// Patient with nodes: these bodies are about nodes that refuse, not about slow ones.
fn settings(ttl: Duration) -> RedlockSettings {
    RedlockSettings { ttl, node_timeout: Duration::from_secs(2), ..RedlockSettings::default() }
}

pub async fn a_stopped_minority_does_not_matter(fixture: &impl RedlockFixture) {
    let name = LockName::new("minority");
    let ((first, _), (second, _)) = (fixture.redlock(0..2, settings(LONG)), fixture.redlock(0..2, settings(LONG)));
    let held = first.acquire(&name, SOON).await.unwrap();
    assert!(second.try_acquire(&name).await.unwrap().is_none());
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    assert_eq!(second.acquire(&name, SOON).await.unwrap().release().await, ReleaseOutcome::Released);
}

pub async fn without_a_quorum_the_stopped_are_named(fixture: &impl RedlockFixture) {
    let name = LockName::new("no-quorum");
    let (client, stopped) = fixture.redlock(0..3, settings(LONG));
    match client.try_acquire(&name).await.map(|held| held.is_some()) {
        Err(AcquireError::DeadlineExceeded { last: AttemptError::NoQuorum { votes, needed, nodes }, .. }) => {
            assert!(votes <= 2 && needed == 3, "{votes} of {needed}");
            assert_eq!((stopped.len(), nodes.0.len()), (3, 5));
            let failed = nodes.0.iter().filter(|report| matches!(report.outcome, NodeOutcome::Failed(_)));
            assert!(failed.map(|report| &report.node).eq(&stopped), "{stopped:?}: {nodes:?}");
            assert!(stopped.iter().all(|node| nodes.to_string().contains(node)), "{stopped:?}: {nodes}");
        }
        other => panic!("{other:?}"),
    }
    // Two votes were won and taken back: they are no obstacle to one who sees all nodes.
    let (other, _) = fixture.redlock(0..0, settings(LONG));
    assert_eq!(other.acquire(&name, SOON).await.unwrap().release().await, ReleaseOutcome::Released);
}

pub async fn a_release_after_the_ttl_says_so(fixture: &impl RedlockFixture) {
    let name = LockName::new("expired");
    let ttl = Duration::from_millis(500);
    let (client, _) = fixture.redlock(0..0, settings(ttl));
    let held = client.acquire(&name, SOON).await.unwrap();
    client.sleep(ttl + ttl / 2).await;
    assert_eq!(held.state(), GuardState::Lost(LostReason::Expired));
    assert_eq!(held.lost().await, LostReason::Expired);
    assert_eq!(held.release().await, ReleaseOutcome::AlreadyExpired);
}

pub async fn a_release_after_another_has_it_says_so(fixture: &impl RedlockFixture) {
    let name = LockName::new("taken-over");
    let (first, _) = fixture.redlock(0..0, settings(Duration::from_millis(500)));
    let (second, _) = fixture.redlock(0..0, settings(LONG));
    let stale = first.acquire(&name, SOON).await.unwrap();
    let held = second.acquire(&name, SOON).await.unwrap();
    assert!(!stale.is_valid(), "two valid holds at once");
    assert_eq!(stale.release().await, ReleaseOutcome::TakenOver);
    assert!(held.is_valid());
    assert_eq!(held.release().await, ReleaseOutcome::Released);
}

/// Three clients that each reach three masters of five, so that any two have one, two or all of them in common.
fn of_three_majorities(fixture: &impl RedlockFixture) -> [Client; 3] {
    let settings = RedlockSettings { tokens: Tokens::Quorum, ..settings(LONG) };
    [0..2, 3..5, 2..4].map(|stopped| fixture.redlock(stopped, settings.clone()).0)
}

/// Gets the lock and gives it back: the grant's token.
pub async fn turn(client: &Client, name: &LockName) -> FencingToken {
    let held = client.acquire(name, SOON).await.unwrap();
    let token = held.token().expect("it has a token");
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    token
}

/// The master that two majorities share need not be the one with the highest count: what the others say differs, and
/// has to be made to agree.
pub async fn tokens_rise_through_any_majority(fixture: &impl RedlockFixture) {
    let name = LockName::new("majorities");
    let clients = of_three_majorities(fixture);
    let mut tokens = Vec::new();
    for _ in 0..4 {
        for client in [1, 1, 1, 0, 2, 2, 0, 1, 2, 0] {
            tokens.push(turn(&clients[client], &name).await.0);
        }
    }
    assert!(tokens.is_sorted_by(|token, next| token < next), "{tokens:?}");
}

/// Stops a client when its votes are in, once, until it is let go.
struct VotesIn(Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>);

impl PausePoint for VotesIn {
    fn reached(&self, phase: Phase) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let ends = if phase == Phase::VotesIn { self.0.lock().unwrap().take() } else { None };
            if let Some((stopped, go)) = ends {
                let _ = stopped.send(());
                let _ = go.await;
            }
        })
    }
}

/// Votes that differ, and are gone before they were made to agree: another client has the lock by then, and has, or
/// will have, the token that the first would write back.
pub async fn a_token_takes_votes_that_last(fixture: &impl RedlockFixture) {
    let name = LockName::new("votes-that-end");
    let [first, ahead, second] = of_three_majorities(fixture);
    for _ in 0..3 {
        turn(&ahead, &name).await;
    }
    let ((stopped, is_stopped), (go, goes)) = (oneshot::channel(), oneshot::channel());
    let attempt = first.run({
        let (client, name) = (first.clone(), name.clone());
        let pause_point = Arc::new(VotesIn(Mutex::new(Some((stopped, goes)))));
        let options = AcquireOptions::default().stopped_by(pause_point);
        async move { client.lock.acquire(&name, &options).await.map(|guard| guard.token()) }
    });
    is_stopped.await.expect("the votes come in");
    fixture.revoke(&name).await;
    let before = turn(&second, &name).await;
    go.send(()).expect("it waits");
    match attempt.await {
        Err(AcquireError::DeadlineExceeded { last: AttemptError::Contended { votes: 0, .. }, .. }) => {}
        other => panic!("{other:?}, after {before:?}"),
    }
    assert!(turn(&first, &name).await > before);
}

/// Waits until all masters have given their votes, not only those of the first majority.
async fn all_hold(fixture: &impl RedlockFixture, client: &Client, name: &LockName) {
    let limit = client.now() + SOON;
    while fixture.holders(name).await < 5 {
        assert!(client.now() < limit, "{name}: a master has not given its vote");
        client.sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until nobody holds the name at any master, far shorter than a lease of [`LONG`].
async fn assert_gone(fixture: &impl RedlockFixture, client: &Client, name: &LockName) {
    let limit = client.now() + SOON;
    loop {
        let holders = fixture.holders(name).await;
        if holders == 0 {
            return;
        }
        assert!(client.now() < limit, "{name}: {holders} masters still have it");
        client.sleep(Duration::from_millis(5)).await;
    }
}

/// The masters that had not answered when the first majority had are no exception.
pub async fn a_release_reaches_every_master(fixture: &impl RedlockFixture) {
    let (client, _) = fixture.redlock(0..0, settings(LONG));
    let names: Vec<LockName> = (0..300).map(|turn| LockName::new(format!("turn-{turn}"))).collect();
    for name in &names {
        let held = client.acquire(name, SOON).await.unwrap();
        assert_eq!(held.release().await, ReleaseOutcome::Released);
    }
    for name in &names {
        assert_gone(fixture, &client, name).await;
    }
}

pub async fn a_release_that_nobody_answered_is_repeated(fixture: &impl RedlockFixture) {
    let name = LockName::new("cut-release");
    let impatient = RedlockSettings { node_timeout: Duration::from_millis(200), ..settings(LONG) };
    let (client, _) = fixture.redlock(0..0, impatient);
    let held = client.acquire(&name, SOON).await.unwrap();
    all_hold(fixture, &client, &name).await;
    fixture.links(&client, Fate::Cut);
    assert!(matches!(held.release().await, ReleaseOutcome::Unknown(_)));
    assert_eq!(fixture.holders(&name).await, 5, "nothing can have got through");
    client.sleep(Duration::from_millis(500)).await;
    fixture.links(&client, Fate::Open);
    assert_gone(fixture, &client, &name).await;
}

pub async fn an_acquire_that_nobody_answered_is_taken_back(fixture: &impl RedlockFixture) {
    let name = LockName::new("cut-acquire");
    let impatient = RedlockSettings { node_timeout: Duration::from_millis(200), ..settings(LONG) };
    let (client, _) = fixture.redlock(0..0, impatient);
    // Opens the connections.
    client.acquire(&LockName::new("warm-up"), SOON).await.unwrap().release().await;
    fixture.links(&client, Fate::NoAnswers);
    let attempt = client.run({
        let (client, name) = (client.clone(), name.clone());
        async move { client.lock.try_acquire(&name).await.map(|guard| guard.is_some()) }
    });
    while fixture.holders(&name).await == 0 {
        client.sleep(Duration::from_millis(1)).await;
    }
    // The votes are given, and nobody is told; nor does what would take them back arrive.
    fixture.links(&client, Fate::Cut);
    assert!(attempt.await.is_err());
    assert!(fixture.holders(&name).await > 0);
    client.sleep(Duration::from_millis(500)).await;
    fixture.links(&client, Fate::Open);
    assert_gone(fixture, &client, &name).await;
}

/// One after the other, until there is none that was among those which granted the lock.
pub async fn a_renewal_wins_back_masters_that_forgot(fixture: &impl RedlockFixture) {
    let name = LockName::new("forgotten");
    let (client, _) = fixture.redlock(0..0, RedlockSettings { renewal: true, ..settings(SHORT) });
    let held = client.acquire(&name, SOON).await.unwrap();
    for master in [0, 1, 2, 3, 4, 0] {
        all_hold(fixture, &client, &name).await;
        fixture.forget(master, &name).await;
        all_hold(fixture, &client, &name).await;
        assert_eq!(held.state(), GuardState::Held, "after master {master}");
    }
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    assert_gone(fixture, &client, &name).await;
}

/// A guard that nobody gives back: renewed or not, it is over after the longest hold, and others have the lock long
/// before its lease would end.
pub async fn a_forgotten_guard_ends(fixture: &impl RedlockFixture) {
    let name = LockName::new("for-ever");
    let limited = RedlockSettings { renewal: true, max_hold: Some(SHORT), ..settings(LONG) };
    let ((first, _), (second, _)) = (fixture.redlock(0..0, limited), fixture.redlock(0..0, settings(LONG)));
    let started = first.now();
    let held = first.acquire(&name, SOON).await.unwrap();
    assert!(held.valid_until() <= first.now() + SHORT);
    assert_eq!(held.lost().await, LostReason::HeldTooLong);
    assert!(first.now() - started >= SHORT);
    let next = second.acquire(&name, SOON).await.unwrap();
    assert_eq!(next.release().await, ReleaseOutcome::Released);
    drop(held);
}

/// At the client and at the masters; and renewals that come after it do not take it back.
pub async fn an_extension_moves_the_validity_and_lasts(fixture: &impl RedlockFixture) {
    let name = LockName::new("extended");
    for renewal in [false, true] {
        let (first, _) = fixture.redlock(0..0, RedlockSettings { renewal, ..settings(SHORT) });
        let (second, _) = fixture.redlock(0..0, settings(LONG));
        let mut held = first.acquire(&name, SOON).await.unwrap();
        let asked = first.now();
        let until = held.extend(LONG).await.unwrap();
        assert!(until >= asked + (LONG - LONG / 50) && until <= first.now() + LONG);
        assert!(held.valid_until() >= until);
        assert!(matches!(held.extend(SHORT).await, Err(ExtendError::Shorter(_))));
        let short = Duration::from_millis(1);
        assert_eq!(held.extend(short).await, Err(ExtendError::TtlTooShort(ConfigError::TtlTooShort(short))));
        // One lease of the first length is over at each master, and all of its renewals would be due.
        first.sleep(2 * SHORT).await;
        assert!(held.valid_until() >= until && held.is_valid());
        assert!(second.try_acquire(&name).await.unwrap().is_none());
        assert_eq!(held.release().await, ReleaseOutcome::Released);
        assert_gone(fixture, &second, &name).await;
    }
}

pub async fn what_has_lapsed_is_not_extended(fixture: &impl RedlockFixture) {
    let name = LockName::new("lapsed");
    let (first, _) = fixture.redlock(0..0, settings(SHORT));
    let (second, _) = fixture.redlock(0..0, settings(LONG));
    let mut late = first.acquire(&name, SOON).await.unwrap();
    let next = second.acquire(&name, SOON).await.unwrap();
    assert_eq!(late.extend(LONG).await, Err(ExtendError::Lost(LostReason::Expired)));
    assert_eq!(next.release().await, ReleaseOutcome::Released);
    drop(late);
    // Nor what a majority no longer knows of, though its time is not up.
    let mut robbed = first.acquire_as(&name, AcquireOptions::within(SOON).ttl(LONG)).await.unwrap();
    fixture.revoke(&name).await;
    assert!(matches!(robbed.extend(2 * LONG).await, Err(ExtendError::Lost(LostReason::Revoked(_)))));
    assert!(matches!(robbed.state(), GuardState::Lost(LostReason::Revoked(_))));
    drop(robbed);
    // Nor beyond the longest hold.
    let mut limited = first.acquire_as(&name, AcquireOptions::within(SOON).max_hold(SHORT / 2)).await.unwrap();
    let end = limited.valid_until();
    assert_eq!(limited.extend(LONG).await, Ok(end));
    assert_eq!(limited.lost().await, LostReason::HeldTooLong);
    limited.release().await;
}

/// The hold is as it was, and what some masters did does not matter.
pub async fn without_a_majority_nothing_is_extended(fixture: &impl RedlockFixture) {
    let name = LockName::new("cut-extension");
    let impatient = RedlockSettings { node_timeout: Duration::from_millis(200), ..settings(LONG) };
    let (client, _) = fixture.redlock(0..0, impatient);
    let mut held = client.acquire(&name, SOON).await.unwrap();
    all_hold(fixture, &client, &name).await;
    let until = held.valid_until();
    fixture.links(&client, Fate::NoAnswers);
    assert!(matches!(held.extend(2 * LONG).await, Err(ExtendError::Failed(AttemptError::NoQuorum { .. }))));
    assert_eq!((held.valid_until(), held.state()), (until, GuardState::Held));
    fixture.links(&client, Fate::Open);
    let limit = client.now() + SOON;
    // The connections may have to be made anew.
    while !matches!(held.extend(2 * LONG).await, Ok(later) if later > until) {
        assert!(client.now() < limit, "it is never extended");
        client.sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    assert_gone(fixture, &client, &name).await;
}
