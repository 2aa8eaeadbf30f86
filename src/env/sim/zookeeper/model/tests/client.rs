//! The client's session, over connections that come and go.

use std::time::Duration;

use futures_util::future::FutureExt;

use super::live::{Live, paused};
use super::world::Host;
use crate::env::sim::zookeeper::Role;
use crate::ids::NodeId;
use crate::lock::backend::{SessionState, WatchEvent, ZkConnector};
use crate::lock::error::ZkError;

const TIMEOUT: Duration = Duration::from_secs(1);

#[test]
fn verbs() {
    paused(async {
        let live = Live::new(1).await;
        let session = live.session(1, &live.all(), TIMEOUT).await;
        assert_eq!(session.timeout(), TIMEOUT);
        assert_eq!(session.create_contender("/a/b/n-").await, Err(ZkError::NoNode));
        assert_eq!(session.create_parents("/a/b").await, Ok(()));
        assert_eq!(session.create_parents("/a/b").await, Ok(()));
        let (path, znode) = session.create_contender("/a/b/n-").await.unwrap();
        assert_eq!((path.as_str(), znode.ephemeral_owner), ("/a/b/n-0000000000", session.id()));
        assert_eq!(session.stat(&path).await, Ok(Some(znode)));
        assert_eq!(session.children("/a/b").await, Ok(vec!["n-0000000000".to_owned()]));
        assert_eq!(session.sync("/").await, Ok(()));
        assert!(session.watch("/a/c").await.unwrap().is_none());
        let watch = session.watch(&path).await.unwrap().unwrap();
        assert_eq!(session.delete(&path).await, Ok(()));
        assert_eq!(watch.await, WatchEvent::Deleted);
        assert_eq!(session.delete(&path).await, Err(ZkError::NoNode));
        assert!(matches!(session.delete("/a").await, Err(ZkError::Refused(_))));
    });
}

#[test]
fn an_idle_session_lives_on() {
    paused(async {
        let live = Live::new(2).await;
        let session = live.session(1, &live.all(), TIMEOUT).await;
        let (path, _) = session.create_contender("/n-").await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(*session.state().borrow(), SessionState::Connected);
        assert!(session.stat(&path).await.unwrap().is_some());
    });
}

#[test]
fn the_last_handle_closes_the_session() {
    paused(async {
        let live = Live::new(3).await;
        let session = live.session(1, &live.all(), TIMEOUT).await;
        let (path, _) = session.create_contender("/n-").await.unwrap();
        let (state, watch) = (session.state(), session.watch(&path).await.unwrap().unwrap());
        drop(session);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(live.world().paths(NodeId(1)), ["/"]);
        assert_eq!(watch.await, WatchEvent::Deleted);
        assert_eq!(*state.borrow(), SessionState::Ended("client closed".to_owned()));
    });
}

#[test]
fn a_killed_server_costs_the_answer_but_not_the_session_nor_its_watches() {
    paused(async {
        let live = Live::new(4).await;
        let other = live.session(2, &[NodeId(2)], TIMEOUT).await;
        let (path, _) = other.create_contender("/n-").await.unwrap();
        other.sync("/").await.unwrap();
        let session = live.session(1, &[NodeId(1), NodeId(3)], TIMEOUT).await;
        session.sync("/").await.unwrap();
        let watch = session.watch(&path).await.unwrap().unwrap();
        let home = live.world().home(1).unwrap();
        let mut delete = session.delete("/nothing");
        assert!((&mut delete).now_or_never().is_none());
        live.world().crash(home);
        assert!(matches!(delete.await, Err(ZkError::Unanswered(_))));
        assert_eq!(*session.state().borrow(), SessionState::Disconnected);
        // Asked while disconnected: waits, and is answered after the reconnect.
        assert_eq!(session.delete("/nothing").await, Err(ZkError::NoNode));
        assert_eq!(*session.state().borrow(), SessionState::Connected);
        assert_eq!(other.delete(&path).await, Ok(()));
        assert_eq!(watch.await, WatchEvent::Deleted);
    });
}

#[test]
fn a_deletion_during_the_disconnection_is_told_after_it() {
    paused(async {
        let live = Live::new(5).await;
        let other = live.session(2, &[NodeId(2)], TIMEOUT).await;
        let (path, _) = other.create_contender("/n-").await.unwrap();
        let session = live.session(1, &live.all(), Duration::from_secs(4)).await;
        session.sync("/").await.unwrap();
        let watch = session.watch(&path).await.unwrap().unwrap();
        for node in live.all() {
            live.world().cut_both(Host::Client(1), Host::Node(node));
        }
        other.delete(&path).await.unwrap();
        let mut state = session.state();
        state.wait_for(|state| *state == SessionState::Disconnected).await.unwrap();
        live.world().heal();
        assert_eq!(watch.await, WatchEvent::Deleted);
    });
}

#[test]
fn a_silent_connection_is_given_up_after_two_fifths_and_the_session_after_seven() {
    paused(async {
        let live = Live::new(6).await;
        let session = live.session(1, &live.all(), TIMEOUT).await;
        let (path, _) = session.create_contender("/n-").await.unwrap();
        let watch = session.watch(&path).await.unwrap().unwrap();
        let cut = live.now();
        for node in live.all() {
            live.world().cut_both(Host::Client(1), Host::Node(node));
        }
        let mut state = session.state();
        state.wait_for(|state| *state == SessionState::Disconnected).await.unwrap();
        let silent = live.now() - cut;
        assert!(silent > TIMEOUT * 7 / 20 && silent <= TIMEOUT * 9 / 20, "{silent:?}");
        let mut queued = session.stat(&path);
        assert!((&mut queued).now_or_never().is_none());
        state.wait_for(|state| matches!(state, SessionState::Ended(_))).await.unwrap();
        let expired = live.now() - cut;
        assert!(expired > TIMEOUT * 13 / 10 && expired < TIMEOUT * 17 / 10, "{expired:?}");
        assert!(matches!(queued.await, Err(ZkError::SessionEnded(_))));
        assert!(matches!(session.stat(&path).await, Err(ZkError::SessionEnded(_))));
        assert_eq!(watch.await, WatchEvent::SessionEnded);
    });
}

#[test]
fn an_expired_session_is_told_so_when_it_comes_back() {
    paused(async {
        let live = Live::new(7).await;
        let session = live.session(1, &live.all(), TIMEOUT).await;
        for node in live.all() {
            live.world().cut(Host::Client(1), Host::Node(node));
        }
        let id = session.id();
        live.until("expired", |world| !world.servers[&NodeId(1)].sessions().any(|session| session == id)).await;
        live.world().heal();
        let mut state = session.state();
        let ended = state.wait_for(|state| matches!(state, SessionState::Ended(_))).await.unwrap();
        assert_eq!(*ended, SessionState::Ended("session expired".to_owned()));
    });
}

#[test]
fn no_session_without_a_majority() {
    paused(async {
        let live = Live::new(8).await;
        live.world().crash(NodeId(1));
        live.world().crash(NodeId(2));
        live.until("no leader", |world| world.servers[&NodeId(3)].role() == Role::Looking).await;
        let before = live.now();
        let refused = live.ensemble(1, &live.all(), TIMEOUT).connect().await;
        assert!(matches!(refused, Err(ZkError::Unanswered(_))));
        assert!(live.now() - before >= TIMEOUT);
    });
}
