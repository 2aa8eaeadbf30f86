//! Streams cut anywhere come out as they went in, and what is found in them does not depend on where they were cut.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::*;
use crate::fault::request::{Call, Does, RequestRule};
use crate::history::{F, Op, OpType, Process};
use crate::ids::LockName;
use crate::seed::{ChaCha8Rng, Seed};
use crate::time::Nanos;

fn names() -> Names {
    Names::new(["item-1", "item-10"].map(|name| (LockName::new(name), format!("fp-7-{name}").into_bytes())))
}

/// Something in the client's direction that Redis may be sent, or the noise of another protocol.
fn request(rng: &mut ChaCha8Rng) -> Vec<u8> {
    match rng.random_range(0..12) {
        0 => b"PING\r\n".to_vec(),
        1 => b"\r\n".to_vec(),
        2 => b"*0\r\n".to_vec(),
        3 => b"*2\r\n$3\r\nGET\r\n$-1\r\n".to_vec(),
        _ => {
            let words = ["SET", "EVALSHA", "fp-7-item-1", "fp-7-item-10", "PX", "", "a\r\nb", "\0\u{ff}*3\r\n"];
            let count = rng.random_range(1..5);
            let mut text = format!("*{count}\r\n").into_bytes();
            for _ in 0..count {
                let word = words[rng.random_range(0..words.len())];
                text.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
            }
            text
        }
    }
}

fn reply(rng: &mut ChaCha8Rng, depth: u32) -> Vec<u8> {
    let nested = |rng: &mut ChaCha8Rng, head: String, count: usize| {
        let mut text = head.into_bytes();
        (0..count).for_each(|_| text.extend(reply(rng, depth + 1)));
        text
    };
    match rng.random_range(0..if depth > 2 { 8 } else { 13 }) {
        0 => b"+OK\r\n".to_vec(),
        1 => b"-ERR no\r\n".to_vec(),
        2 => b":-12\r\n".to_vec(),
        3 => b"$-1\r\n".to_vec(),
        4 => b"$5\r\na\r\nb\0\r\n".to_vec(),
        5 => b"_\r\n".to_vec(),
        6 => b"=5\r\ntxt:x\r\n".to_vec(),
        7 => b",1.5\r\n".to_vec(),
        8 => b"*-1\r\n".to_vec(),
        9 => nested(rng, "*2\r\n".to_owned(), 2),
        10 => nested(rng, "%1\r\n".to_owned(), 2),
        11 => nested(rng, "~1\r\n".to_owned(), 1),
        _ => nested(rng, "|1\r\n".to_owned(), 3),
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

fn noise(rng: &mut ChaCha8Rng) -> Vec<u8> {
    (0..rng.random_range(1..40)).map(|_| rng.next_u32() as u8).collect()
}

fn pieces<'a>(bytes: &'a [u8], rng: &mut ChaCha8Rng) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let most = if rng.random() { 3 } else { rest.len() };
        let (piece, more) = rest.split_at(rng.random_range(1..=most.min(rest.len())));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

fn sent(side: &mut Conversation, bytes: &[u8], found: &mut Vec<(u64, LockName, Vec<u8>)>) -> Vec<u8> {
    let mut out = Vec::new();
    for one in side.client_sent(bytes) {
        match one {
            FromClient::Bytes(bytes) => out.extend(bytes),
            FromClient::About { lock, number, bytes, .. } => {
                out.extend(&bytes);
                found.push((number, lock, bytes));
            }
        }
    }
    out
}

fn answered(side: &mut Conversation, bytes: &[u8], found: &mut Vec<(u64, Vec<u8>)>) -> Vec<u8> {
    let mut out = Vec::new();
    for one in side.server_sent(bytes) {
        match one {
            FromServer::Bytes(bytes) => out.extend(bytes),
            FromServer::Reply { number, bytes } => {
                out.extend(&bytes);
                found.push((number, bytes));
            }
        }
    }
    out
}

/// Something that goes one way between a client and etcd: requests of the gateway or frames of gRPC.
fn etcd_message(rng: &mut ChaCha8Rng, is_two: bool, is_reply: bool) -> Vec<u8> {
    use base64::Engine as _;
    let words = ["fp-7-item-1", "/x/fp-7-item-10", "a/fp-7-item-1/3f", "", "other"];
    let word = words[rng.random_range(0..words.len())];
    if is_two {
        let (kind, flags, stream) =
            (rng.random_range(0..4u8), rng.random_range(0..2u8), 2 * rng.random_range(0..3u8) + 1);
        let head = [0, 0, word.len() as u8, kind, flags, 0, 0, 0, stream];
        return [&head[..], word.as_bytes()].concat();
    }
    let body = format!("{{\"key\":\"{}\"}}", base64::prelude::BASE64_STANDARD.encode(word));
    let first = if is_reply { "HTTP/1.1 200 OK" } else { "POST /v3/kv/range HTTP/1.1" };
    if rng.random() {
        return format!("{first}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes();
    }
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    format!("{first}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").into_bytes()
}

#[test]
fn an_etcd_request_is_known_by_the_name_in_its_base64_and_its_reply_by_order_or_stream() {
    use base64::Engine as _;
    let mut found = Vec::new();
    let mut gateway = Conversation::new(Protocol::Etcd, names());
    for (name, number) in [("fp-7-item-10", 1), ("/locks/fp-7-item-1", 2), ("x/fp-7-item-1/3f", 3)] {
        let body = format!("{{\"name\":\"{}\"}}", base64::prelude::BASE64_STANDARD.encode(name));
        let request = format!("POST /v3/lock/lock HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let [FromClient::About { lock, number: at, is_paired, .. }] = &gateway.client_sent(request.as_bytes())[..]
        else {
            panic!("{name}")
        };
        assert_eq!((lock.as_str(), *at, *is_paired), (if number == 1 { "item-10" } else { "item-1" }, number, true));
    }
    sent(&mut gateway, b"POST /v3/lease/keepalive HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", &mut found);
    assert!(found.is_empty(), "it bears no name");
    // The first reply comes in chunks, and goes on before its last one is there.
    let mut replies = Vec::new();
    answered(&mut gateway, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", &mut replies);
    assert_eq!(replies.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1]);
    answered(&mut gateway, b"0\r\n\r\nHTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n", &mut replies);
    assert_eq!(replies.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);

    let mut grpc = Conversation::new(Protocol::Etcd, names());
    let frame = |kind: u8, flags: u8, stream: u8, body: &[u8]| {
        [&[0, 0, body.len() as u8, kind, flags, 0, 0, 0, stream], body].concat()
    };
    let mut found = Vec::new();
    sent(&mut grpc, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &mut found);
    sent(
        &mut grpc,
        &[frame(4, 0, 0, b""), frame(1, 4, 1, b"head"), frame(0, 1, 1, b"\0..fp-7-item-1")].concat(),
        &mut found,
    );
    sent(&mut grpc, &[frame(1, 4, 3, b"head"), frame(0, 1, 3, b"\0..fp-7-item-10")].concat(), &mut found);
    assert_eq!(found.iter().map(|(_, lock, _)| lock.as_str()).collect::<Vec<_>>(), ["item-1", "item-10"]);
    // The later call is answered first; the other fails, without data.
    let mut replies = Vec::new();
    answered(
        &mut grpc,
        &[frame(4, 0, 0, b""), frame(1, 4, 3, b"head"), frame(0, 0, 3, b"data")].concat(),
        &mut replies,
    );
    answered(&mut grpc, &[frame(1, 5, 3, b"end"), frame(1, 5, 1, b"end")].concat(), &mut replies);
    assert_eq!(replies.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 1]);
    assert!(!grpc.is_opaque() && !gateway.is_opaque());
}

/// Any bytes at all, of either protocol or none, in either direction, in any pieces.
#[test]
fn whatever_comes_goes_on_unchanged_and_is_found_alike_however_it_was_cut() {
    let mut about = 0;
    for seed in 0..3_000 {
        let mut rng = Seed(seed).stream("wire");
        let protocol = [Protocol::Resp, Protocol::Zookeeper, Protocol::Etcd][rng.random_range(0..3)];
        let is_two = rng.random();
        let (mut up, mut down) = (Vec::new(), Vec::new());
        if protocol == Protocol::Etcd && is_two {
            up.extend(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        }
        for _ in 0..rng.random_range(0..8) {
            match protocol {
                Protocol::Resp => {
                    up.extend(request(&mut rng));
                    down.extend(reply(&mut rng, 0));
                }
                Protocol::Etcd => {
                    up.extend(etcd_message(&mut rng, is_two, false));
                    down.extend(etcd_message(&mut rng, is_two, true));
                }
                Protocol::Zookeeper => {
                    let path = if rng.random() { "\0\0\0\x09/fp-7-item-1/x" } else { "\0\0\0\x02elsewhere" };
                    up.extend(frame(&[&rng.random_range(-8..4_i32).to_be_bytes()[..], path.as_bytes()].concat()));
                    down.extend(frame(&[&rng.random_range(-8..4_i32).to_be_bytes()[..], b"answer"].concat()));
                }
            }
        }
        // At times one side goes mad, or ends in the middle.
        if rng.random_range(0..3) == 0 {
            up.extend(noise(&mut rng));
            down.extend(noise(&mut rng));
            up.extend(request(&mut rng));
        }
        if rng.random_range(0..3) == 0 {
            up.truncate(rng.random_range(0..=up.len()));
        }
        let mut whole = Conversation::new(protocol, names());
        let (mut found, mut replies) = (Vec::new(), Vec::new());
        let mut out = sent(&mut whole, &up, &mut found);
        out.extend(whole.client_ended());
        let mut back = answered(&mut whole, &down, &mut replies);
        back.extend(whole.server_ended());
        assert_eq!((&out, &back), (&up, &down), "seed {seed}");
        let mut cut = Conversation::new(protocol, names());
        let (mut found_again, mut replies_again, mut out, mut back) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for piece in pieces(&up, &mut rng) {
            out.extend(sent(&mut cut, piece, &mut found_again));
        }
        out.extend(cut.client_ended());
        for piece in pieces(&down, &mut rng) {
            back.extend(answered(&mut cut, piece, &mut replies_again));
        }
        back.extend(cut.server_ended());
        assert_eq!((&out, &back), (&up, &down), "seed {seed}, cut");
        assert_eq!((&found_again, &replies_again), (&found, &replies), "seed {seed}");
        about += found.len();
    }
    assert!(about > 3_000, "only {about} requests about a lock");
}

#[test]
fn a_redis_reply_is_that_of_its_request() {
    let mut side = Conversation::new(Protocol::Resp, names());
    let (mut found, mut replies) = (Vec::new(), Vec::new());
    sent(&mut side, b"PING\r\n*2\r\n$3\r\nGET\r\n$12\r\nfp-7-item-10\r\n\r\n", &mut found);
    sent(&mut side, b"*1\r\n$4\r\nTIME\r\n*2\r\n$3\r\nDEL\r\n$11\r\nfp-7-item-1\r\n", &mut found);
    let locks: Vec<&str> = found.iter().map(|(_, lock, _)| lock.as_str()).collect();
    assert_eq!(locks, ["item-10", "item-1"], "the longer name, though the shorter is in it");
    answered(&mut side, b"+PONG\r\n>2\r\n+message\r\n+x\r\n$3\r\nold\r\n", &mut replies);
    answered(&mut side, b"*2\r\n:1\r\n:2\r\n:1\r\n", &mut replies);
    assert_eq!(replies, [(1, b"$3\r\nold\r\n".to_vec()), (2, b":1\r\n".to_vec())]);
}

#[test]
fn after_a_subscription_no_reply_is_taken_for_anybodys() {
    let mut side = Conversation::new(Protocol::Resp, names());
    let (mut found, mut replies) = (Vec::new(), Vec::new());
    sent(&mut side, b"*2\r\n$9\r\nsubscribe\r\n$11\r\nfp-7-item-1\r\n", &mut found);
    sent(&mut side, b"*2\r\n$3\r\nGET\r\n$11\r\nfp-7-item-1\r\n", &mut found);
    assert_eq!(found.len(), 2, "the requests are seen all the same");
    let bytes = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n$1\r\nx\r\n";
    assert_eq!(answered(&mut side, bytes, &mut replies), bytes);
    assert_eq!(replies, []);
}

#[test]
fn a_zookeeper_reply_is_found_by_its_xid_between_events_and_pings() {
    let mut side = Conversation::new(Protocol::Zookeeper, names());
    let (mut found, mut replies) = (Vec::new(), Vec::new());
    let message = |xid: i32, rest: &str| frame(&[&xid.to_be_bytes()[..], rest.as_bytes()].concat());
    // What opens the session has no xid, though its bytes may look like one.
    sent(&mut side, &message(1, "hello"), &mut found);
    for (xid, path) in [(1, "/fp-7-item-1/a"), (-2, ""), (2, "/else"), (3, "/fp-7-item-1/b")] {
        sent(&mut side, &message(xid, path), &mut found);
    }
    assert_eq!(found.iter().map(|(number, ..)| *number).collect::<Vec<_>>(), [1, 2]);
    answered(&mut side, &message(1, "session"), &mut replies);
    for xid in [-1, 1, -2, -1, 2, 3] {
        answered(&mut side, &message(xid, "answer"), &mut replies);
    }
    assert_eq!(replies, [(1, message(1, "answer")), (2, message(3, "answer"))]);
    let mut side = Conversation::new(Protocol::Zookeeper, names());
    assert_eq!(sent(&mut side, b"srvr", &mut found), b"srvr");
    assert!(side.is_opaque());
    assert_eq!(answered(&mut side, b"Zookeeper version: 3.9.3\n", &mut replies), b"Zookeeper version: 3.9.3\n");
}

#[test]
fn what_a_client_is_about_is_told_by_its_ops() {
    let lock = LockName::new("item-1");
    let mut calls = Calls::default();
    let mut hear = |f, kind| {
        let mut op = Op::new(Nanos(1), Process::Client(1), kind, f);
        op.lock = Some(lock.clone());
        calls.hear(&op);
        (calls.of(&lock), calls.of(&LockName::new("item-2")))
    };
    assert_eq!(hear(F::Acquire, OpType::Invoke), (Some(Call::Acquiring), None));
    assert_eq!(hear(F::Acquire, OpType::Fail), (None, None));
    hear(F::Acquire, OpType::Invoke);
    assert_eq!(hear(F::Acquire, OpType::Ok), (Some(Call::Renewing), None));
    assert_eq!(hear(F::Read, OpType::Ok), (Some(Call::Renewing), None));
    assert_eq!(hear(F::Release, OpType::Invoke), (Some(Call::Releasing), None));
    assert_eq!(hear(F::Release, OpType::Info), (None, None));
    hear(F::Acquire, OpType::Invoke);
    assert_eq!(hear(F::Crash, OpType::Ok), (None, None));
}

#[test]
fn a_rule_strikes_its_first_requests_and_counts_what_was_done() {
    let rule = |does, phase, times| RequestRule { does, phase, times, by: Duration::from_millis(5) };
    let mut gate = Gate::default();
    assert_eq!(gate.decide(Call::Acquiring), None);
    gate.arm(4, rule(Does::Hold, Call::Acquiring, Some(2)));
    gate.arm(7, rule(Does::CutAfter, Call::Acquiring, None));
    let does = |gate: &mut Gate, call| gate.decide(call).map(|decision| (decision.strike, decision.does));
    assert_eq!(does(&mut gate, Call::Releasing), None);
    assert_eq!(does(&mut gate, Call::Acquiring), Some((4, Does::Hold)));
    assert_eq!(does(&mut gate, Call::Acquiring), Some((4, Does::Hold)));
    assert_eq!(does(&mut gate, Call::Acquiring), Some((7, Does::CutAfter)), "the first has struck twice");
    gate.done(4);
    assert_eq!((gate.disarm(4), gate.disarm(4), gate.disarm(7)), (Some(1), None, Some(0)));
    assert!(gate.is_open());
}
