//! What the seam's real client makes of every error that a real server can be brought to give, verb by verb.
//!
//! Each is one that means *certainly did not happen*, and the keys are looked at to see that it did not. Codes that
//! need more than one server (`MOVED`, `ASK`) are left to the unit test of the classification.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fencepost::env::docker::proxy::Proxy;
use fencepost::env::sim::redis::Reply;
use fencepost::fault::request::{Call, Does, RequestRule};
use fencepost::history::{F, Op, OpType, Process};
use fencepost::ids::{FencingToken, LockName, NodeId, OwnerToken};
use fencepost::lock::backend::{Ownership, RedisNode};
use fencepost::lock::client::{RedisEndpoint, RedisServer};
use fencepost::lock::error::NodeError;
use fencepost::time::Nanos;
use fencepost::wire::{Names, Protocol};

use super::server::{Real, with_server};

const FREE: &str = "free";
const MINE: &str = "mine";
/// Somebody holds it, and who waits for it enters a line.
const HELD: &str = "held";
const TTL: Duration = Duration::from_secs(60);

/// What each verb of the seam got: what it would have changed, had it been carried out.
type Answers = Vec<(&'static str, Result<&'static str, NodeError>)>;

/// Asks by every verb, so that each has something to write: the first ones a key that is free, the others one that is
/// ours.
fn ask(real: &Real, node: &RedisServer) -> Answers {
    let owner = OwnerToken::new("me");
    let vote = |set: bool| if set { "set" } else { "not set" };
    let owned = |found: Ownership| if found == Ownership::Ours { "ours" } else { "not ours" };
    real.block_on(async {
        vec![
            ("set_if_absent", node.set_if_absent(FREE, &owner, TTL).await.map(vote)),
            ("set_and_count", node.set_and_count(FREE, "#free", &owner, TTL).await.map(|count| vote(count.is_some()))),
            ("set_and_fence", node.set_and_fence(FREE, "#free", &owner, TTL).await.map(|count| vote(count.is_some()))),
            ("raise_if_owner", node.raise_if_owner(MINE, "#mine", &owner, FencingToken(7)).await.map(vote)),
            ("extend_if_owner", node.extend_if_owner(MINE, &owner, TTL).await.map(owned)),
            ("delete_if_owner", node.delete_if_owner(MINE, &owner).await.map(owned)),
            ("delete_and_call", node.delete_and_call(MINE, "##mine", &owner).await.map(owned)),
            ("stand_in_line", node.stand_in_line(HELD, "##held", "c 1", false, TTL).await.map(|_| "stands")),
            ("leave_line", node.leave_line(HELD, "##held", "c 1").await.map(|()| "left")),
        ]
    })
}

fn node(real: &Real, login: &str) -> RedisServer {
    let endpoint: RedisEndpoint = format!("redis://{login}{}", real.address()).parse().unwrap();
    RedisServer::new(endpoint)
}

/// The keys as [`ask`] wants them.
fn prepare(real: &mut Real) {
    real.raw(&["DEL", FREE, "#free", "#mine", "##held"]);
    assert_eq!(real.raw(&["SET", HELD, "another"]), Reply::Ok);
    assert_eq!(real.raw(&["SET", MINE, "me"]), Reply::Ok);
}

/// Nothing of what was asked has happened.
fn untouched(real: &mut Real, why: &str) {
    assert_eq!(real.raw(&["EXISTS", FREE]), Reply::Integer(0), "{why}");
    assert_eq!(real.raw(&["GET", MINE]), Reply::Bulk("me".to_owned()), "{why}");
    assert_eq!(real.raw(&["PTTL", MINE]), Reply::Integer(-1), "{why}");
}

/// All verbs, or those named, got this code, and it means what it should.
fn all_got(answers: &Answers, code: &str, for_good: bool, but: &[&str]) {
    for (verb, answer) in answers.iter().filter(|(verb, _)| !but.contains(verb)) {
        let text = match answer {
            Err(NodeError::Denied(text)) if for_good => text,
            Err(NodeError::Refused(text)) if !for_good => text,
            other => panic!("{code}: {verb}: {other:?}"),
        };
        assert!(text.starts_with(code), "{code}: {verb}: {text}");
    }
    println!("  {code}: {} verbs, {:?}", answers.len() - but.len(), answers[0].1);
}

fn ok(real: &mut Real, words: &[&str]) {
    assert_eq!(real.raw(words), Reply::Ok, "{words:?}");
}

#[tokio::test]
async fn who_may_not_is_denied() {
    with_server(&[], |real| {
        prepare(real);
        let open = node(real, "");
        assert!(ask(real, &open).iter().all(|(_, answer)| answer.is_ok()));
        prepare(real);

        ok(real, &["CONFIG", "SET", "requirepass", "right"]);
        all_got(&ask(real, &node(real, "")), "NOAUTH", true, &[]);
        all_got(&ask(real, &node(real, ":wrong@")), "WRONGPASS", true, &[]);
        ok(real, &["ACL", "SETUSER", "guest", "on", ">guest", "~*", "+get"]);
        all_got(&ask(real, &node(real, "guest:guest@")), "NOPERM", true, &[]);
        // May call scripts, but nothing that they call.
        ok(real, &["ACL", "SETUSER", "caller", "on", ">caller", "~*", "+eval", "+get", "+exists", "+incr", "+time"]);
        let answers = ask(real, &node(real, "caller:caller@"));
        for (verb, answer) in &answers {
            assert!(matches!(answer, Err(NodeError::Denied(_))), "{verb}: {answer:?}");
        }
        untouched(real, "no rights");
        let right = node(real, ":right@");
        real.raw(&["DEL", "#free"]);
        assert!(ask(real, &right).iter().all(|(_, answer)| answer.is_ok()));
        // Who may not publish gives back all the same; nobody is called.
        ok(real, &["ACL", "SETUSER", "mute", "on", ">mute", "~*", "+@all", "resetchannels"]);
        let mute = node(real, "mute:mute@");
        let owner = OwnerToken::new("me");
        assert_eq!(real.block_on(mute.stand_in_line(MINE, "##mine", "c 1", false, TTL)), Ok(None), "it was deleted");
        assert_eq!(real.block_on(mute.set_if_absent(MINE, &owner, TTL)), Ok(true));
        assert!(real.block_on(mute.stand_in_line(MINE, "##mine", "c 1", false, TTL)).is_ok_and(|left| left.is_some()));
        assert_eq!(real.block_on(mute.delete_and_call(MINE, "##mine", &owner)), Ok(Ownership::Ours));
        assert!(real.block_on(mute.listen("c")).is_err());
        // A connection that was good before is told, too.
        ok(real, &["ACL", "SETUSER", "default", "-@all"]);
        all_got(&ask(real, &open), "NOPERM", true, &[]);
    })
    .await;
}

#[tokio::test]
async fn what_a_server_cannot_do_for_now_is_refused() {
    with_server(&[], |real| {
        let node = node(real, "");
        prepare(real);
        ok(real, &["CONFIG", "SET", "maxmemory", "1"]);
        // Making room and giving a key less time needs no memory.
        let answers = ask(real, &node);
        all_got(&answers, "OOM", false, &["extend_if_owner", "delete_if_owner", "delete_and_call", "leave_line"]);
        assert_eq!((&answers[4].1, &answers[5].1), (&Ok("ours"), &Ok("ours")));
        ok(real, &["CONFIG", "SET", "maxmemory", "0"]);

        prepare(real);
        ok(real, &["CONFIG", "SET", "min-replicas-to-write", "1"]);
        all_got(&ask(real, &node), "NOREPLICAS", false, &[]);
        ok(real, &["CONFIG", "SET", "min-replicas-to-write", "0"]);
        untouched(real, "too few replicas");

        ok(real, &["REPLICAOF", "127.0.0.1", "1"]);
        all_got(&ask(real, &node), "READONLY", false, &[]);
        ok(real, &["CONFIG", "SET", "replica-read-only", "no"]);
        ok(real, &["CONFIG", "SET", "replica-serve-stale-data", "no"]);
        all_got(&ask(real, &node), "MASTERDOWN", false, &[]);
        ok(real, &["REPLICAOF", "NO", "ONE"]);
        untouched(real, "a replica");

        // Another client keeps the server in a script.
        ok(real, &["CONFIG", "SET", "busy-reply-threshold", "1"]);
        let mut other = real.another();
        real.send(&["EVAL", "while true do end", "0"]);
        let limit = Instant::now() + Duration::from_secs(20);
        while !matches!(other.raw(&["GET", MINE]), Reply::Error(text) if text.starts_with("BUSY")) {
            assert!(Instant::now() < limit, "the script does not keep the server");
        }
        all_got(&ask(real, &node), "BUSY", false, &[]);
        assert_eq!(other.raw(&["SCRIPT", "KILL"]), Reply::Ok);
        assert!(matches!(real.reply(), Reply::Error(_)));
        untouched(real, "a script that runs on");

        // A server that reads its data again, as after a restart.
        for key in 0..400 {
            ok(real, &["SET", &format!("ballast-{key}"), &"x".repeat(4096)]);
        }
        ok(real, &["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]);
        ok(real, &["CONFIG", "SET", "key-load-delay", "20000"]);
        real.send(&["DEBUG", "RELOAD"]);
        while !matches!(other.raw(&["GET", MINE]), Reply::Error(text) if text.starts_with("LOADING")) {
            assert!(Instant::now() < limit, "the server does not load");
        }
        all_got(&ask(real, &node), "LOADING", false, &[]);
        assert_eq!(other.raw(&["CONFIG", "SET", "key-load-delay", "0"]), Reply::Ok);
        assert_eq!(real.reply(), Reply::Ok);
        untouched(real, "a server that loads");

        // A key that is something else than a lock's.
        real.raw(&["DEL", MINE]);
        real.raw(&["LPUSH", MINE, "x"]);
        let sets = ["set_if_absent", "set_and_count", "set_and_fence", "stand_in_line", "leave_line"];
        all_got(&ask(real, &node), "WRONGTYPE", true, &sets);
    })
    .await;
}

/// What the middle replies to a request that is to be refused is what a server that loads replies, verb by verb; the
/// server is not asked, and other requests are.
#[tokio::test]
async fn a_refusal_in_the_middle_is_like_the_servers() {
    with_server(&[], |real| {
        prepare(real);
        let lock = LockName::new("any");
        // Each verb names one of these.
        let names = Names::new([FREE, MINE, HELD].map(|key| (lock.clone(), key.as_bytes().to_vec())));
        let proxy = real.block_on(Proxy::open(Protocol::Resp, &[real.address()], names, None)).unwrap();
        let node = RedisServer::new(proxy.doors[0]);
        assert!(ask(real, &node).iter().all(|(_, answer)| answer.is_ok()), "nothing is struck yet");
        prepare(real);
        let mut op = Op::new(Nanos(1), Process::Client(1), OpType::Invoke, F::Acquire);
        op.lock = Some(lock);
        proxy.hear(&op);
        let rule = RequestRule { does: Does::Refuse, phase: Call::Acquiring, times: None, by: Duration::ZERO };
        proxy.set(1, Some(rule), &[NodeId(1)]);
        all_got(&ask(real, &node), "LOADING", false, &[]);
        untouched(real, "refused in the middle");
        let told = proxy.set(1, None, &[NodeId(1)]);
        assert_eq!(told[0].2, 9, "each of the verbs was struck once");
        assert!(ask(real, &node).iter().all(|(_, answer)| answer.is_ok()), "and the connection is as good as before");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_cannot_save_refuses() {
    with_server(&["--dir", "/proc", "--save", "3600 1"], |real| {
        let node = node(real, "");
        prepare(real);
        let _ = real.raw(&["BGSAVE"]);
        let limit = Instant::now() + Duration::from_secs(20);
        while !matches!(real.raw(&["SET", "other", "x"]), Reply::Error(text) if text.starts_with("MISCONF")) {
            assert!(Instant::now() < limit, "it saves in /proc");
            std::thread::sleep(Duration::from_millis(10));
        }
        all_got(&ask(real, &node), "MISCONF", false, &[]);
        untouched(real, "a disk that fails");
    })
    .await;
}

#[tokio::test]
async fn a_cluster_is_no_place_for_two_keys() {
    with_server(&["--cluster-enabled", "yes"], |real| {
        let node: Arc<RedisServer> = Arc::new(node(real, ""));
        let answers = ask(real, &node);
        // Of the verbs with two keys the slots differ; whichever is looked at first, nothing happens.
        for (verb, answer) in &answers {
            let refused = matches!(answer, Err(NodeError::Refused(text)) if text.starts_with("CLUSTERDOWN"));
            let denied = matches!(answer, Err(NodeError::Denied(text)) if text.starts_with("CROSSSLOT"));
            assert!(refused || denied, "{verb}: {answer:?}");
        }
        println!("  {answers:?}");
    })
    .await;
}
