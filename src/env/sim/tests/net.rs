//! Connections: order, cuts, loss, freezes, crashes.

use futures_util::future::{FutureExt, join, join_all};

use std::time::Duration;

use super::super::engine::ids::DOWN;
use super::super::redis::link::RedisLink;
use super::*;
use crate::fault::Refusal;
use crate::ids::OwnerToken;
use crate::lock::backend::{Connections, RedisNode};
use crate::lock::runtime::before;

#[test]
fn what_is_sent_first_arrives_first() {
    let (world, mut scheduler) = world();
    let caller = caller(&world);
    let numbers = scheduler.block_on(async {
        let connection = caller.connect().await.unwrap().keep();
        join_all((0..500).map(|_| caller.call(connection, incr()))).await
    });
    let numbers: Vec<i64> = numbers.unwrap().into_iter().map(number).collect();
    assert_eq!(numbers, (1..=500).collect::<Vec<_>>(), "executed and answered in the order of sending");
}

#[test]
fn what_is_sent_into_a_cut_arrives_with_a_retransmission_after_it() {
    let (world, mut scheduler) = world();
    let caller = caller(&world);
    let answered = scheduler.block_on(async {
        let connection = caller.connect().await.unwrap().keep();
        until(&world, SECOND).await;
        cut(&world, CLIENT, NODE, true);
        let heal = async {
            until(&world, 2 * SECOND).await;
            assert_eq!(count(&world), 0);
            cut(&world, CLIENT, NODE, false);
        };
        let call = async {
            let both = join(caller.call(connection, incr()), caller.call(connection, incr())).await;
            assert_eq!((number(both.0), number(both.1)), (1, 2));
            world.lock().now
        };
        join(heal, call).await.1
    });
    // Tried again after 0.2, 0.6 and 1.4 s.
    let answered = answered.unwrap();
    assert!((2_400 * MILLISECOND..2_430 * MILLISECOND).contains(&answered), "{answered}");
}

#[test]
fn if_only_the_way_back_is_cut_the_request_is_executed() {
    let (world, mut scheduler) = world();
    let caller = caller(&world);
    let timer = runtime(&world, HARNESS);
    scheduler
        .block_on(async {
            let connection = caller.connect().await.unwrap().keep();
            cut(&world, NODE, CLIENT, true);
            let second = Nanos(world.lock().now + SECOND);
            assert!(before(&*timer, second, caller.call(connection, incr())).await.is_none());
            assert_eq!(count(&world), 1, "on the established connection");
            // For longer than the first retransmission nothing was acknowledged: what is new is held back.
            let third = second + std::time::Duration::from_secs(1);
            assert!(before(&*timer, third, caller.call(connection, incr())).await.is_none());
            assert_eq!(count(&world), 1);
            let fourth = third + std::time::Duration::from_secs(1);
            assert!(before(&*timer, fourth, caller.connect()).await.is_none(), "a new connection needs both ways");
            cut(&world, NODE, CLIENT, false);
            assert!(caller.connect().await.is_some());
            pass(&world, 10 * SECOND).await;
            assert_eq!(count(&world), 2, "held back, not lost");
        })
        .unwrap();
}

#[test]
fn a_thawed_node_executes_what_was_sent_though_the_sender_has_gone() {
    let (world, mut scheduler) = world();
    let caller = caller(&world);
    let timer = runtime(&world, HARNESS);
    scheduler
        .block_on(async {
            let connection = caller.connect().await.unwrap().keep();
            world.lock().freeze(NODE);
            let patience = Nanos(world.lock().now + 50 * MILLISECOND);
            assert!(before(&*timer, patience, caller.call(connection, incr())).await.is_none());
            caller.close(connection);
            assert!(caller.connect().await.is_some(), "a frozen program's kernel takes connections");
            until(&world, 4 * SECOND).await;
            assert_eq!(count(&world), 0);
            world.lock().thaw(NODE);
            assert_eq!(count(&world), 1, "executed at once on the thaw");
        })
        .unwrap();
}

#[test]
fn loss_is_a_delay_not_an_error() {
    let (world, mut scheduler) = world();
    let caller = caller(&world);
    let slow = scheduler.block_on(async {
        let connection = caller.connect().await.unwrap().keep();
        world.lock().net.troubles(CLIENT, NODE).losses.insert(1, 100);
        let mut slow = 0;
        for expected in 1..=300 {
            let sent = world.lock().now;
            assert_eq!(number(caller.call(connection, incr()).await), expected);
            let took = world.lock().now - sent;
            assert!(!(30 * MILLISECOND..200 * MILLISECOND).contains(&took), "{took}");
            slow += u32::from(took >= 200 * MILLISECOND);
        }
        slow
    });
    assert!((15..50).contains(&slow.unwrap()), "about 10 % of 300");
}

#[test]
fn a_killed_process_resets_its_connections_and_refuses_new_ones() {
    let (world, mut scheduler) = world();
    let caller = caller(&world);
    scheduler
        .block_on(async {
            let connection = caller.connect().await.unwrap().keep();
            cut(&world, NODE, CLIENT, true);
            let unanswered = caller.call(connection, incr());
            let kill = async {
                pass(&world, 100 * MILLISECOND).await;
                cut(&world, NODE, CLIENT, false);
                world.lock().crash(NODE, Power::Killed);
            };
            let (answer, ()) = join(unanswered, kill).await;
            assert_eq!((answer, caller.is_open(connection)), (None, false));
            assert!(caller.connect().await.is_none(), "refused");
            world.lock().restart(NODE);
            let connection = caller.connect().await.unwrap().keep();
            assert_eq!(number(caller.call(connection, incr()).await), 2, "what was executed was on its disk");
        })
        .unwrap();
}

#[test]
fn what_a_dead_client_had_sent_arrives_before_its_end_is_heard_of() {
    for power in [Power::Killed, Power::Off] {
        let (world, mut scheduler) = world();
        let caller = caller(&world);
        let late = Duration::from_secs(1);
        scheduler
            .block_on(async {
                let connection = caller.connect().await.unwrap().keep();
                world.lock().net.troubles(CLIENT, NODE).delays.insert(1, (late, late));
                let unheard = caller.call(connection, incr());
                let kill = async {
                    pass(&world, 100 * MILLISECOND).await;
                    world.lock().crash(CLIENT, power);
                    assert_eq!(count(&world), 0, "{power:?}: on the wire");
                };
                let (answer, ()) = join(unheard, kill).await;
                assert_eq!(answer, None);
                pass(&world, 3 * SECOND).await;
                assert_eq!(count(&world), 1, "{power:?}");
                let told = !world.lock().net.connections[connection as usize].is_open(DOWN);
                assert_eq!(told, power == Power::Killed, "a machine that is off says nothing");
            })
            .unwrap();
    }
}

#[test]
fn what_a_dead_client_had_lost_is_not_sent_again_nor_is_what_came_after_it() {
    let (world, mut scheduler) = world();
    let caller = caller(&world);
    let late = Duration::from_secs(1);
    scheduler
        .block_on(async {
            let connection = caller.connect().await.unwrap().keep();
            cut(&world, CLIENT, NODE, true);
            let lost = caller.call(connection, incr());
            let kill = async {
                pass(&world, 50 * MILLISECOND).await;
                cut(&world, CLIENT, NODE, false);
                world.lock().crash(CLIENT, Power::Killed);
            };
            assert_eq!(join(lost, kill).await.0, None);
            pass(&world, 10 * SECOND).await;
            assert_eq!(count(&world), 0);
            assert!(!world.lock().net.connections[connection as usize].is_open(DOWN), "the reset came through");
        })
        .unwrap();

    // Lost on arrival, with another behind it that is not.
    let (world, mut scheduler) = self::world();
    let caller = self::caller(&world);
    scheduler
        .block_on(async {
            let connection = caller.connect().await.unwrap().keep();
            world.lock().net.troubles(CLIENT, NODE).delays.insert(1, (late, late));
            let first = caller.call(connection, incr());
            let second = async {
                pass(&world, 500 * MILLISECOND).await;
                caller.call(connection, incr()).await
            };
            let kill = async {
                pass(&world, 600 * MILLISECOND).await;
                world.lock().crash(CLIENT, Power::Killed);
                cut(&world, CLIENT, NODE, true);
                pass(&world, 600 * MILLISECOND).await;
                cut(&world, CLIENT, NODE, false);
            };
            join(join(first, second), kill).await;
            pass(&world, 10 * SECOND).await;
            assert_eq!(count(&world), 0, "the first never arrived, the second cannot be taken without it");
            assert!(!world.lock().net.connections[connection as usize].is_open(DOWN), "the reset came through");
        })
        .unwrap();
}

#[test]
fn a_machine_without_power_says_nothing_until_it_is_back() {
    let (world, mut scheduler) = world();
    let caller = caller(&world);
    let timer = runtime(&world, HARNESS);
    scheduler
        .block_on(async {
            let connection = caller.connect().await.unwrap().keep();
            world.lock().crash(NODE, Power::Off);
            assert!(before(&*timer, Nanos(3 * SECOND), caller.call(connection, incr())).await.is_none());
            assert!(caller.is_open(connection), "nobody told the client");
            world.lock().restart(NODE);
            until(&world, 8 * SECOND).await;
            assert_eq!((caller.is_open(connection), count(&world)), (false, 0), "the machine knows no such connection");
        })
        .unwrap();
}

#[test]
fn an_abandoned_attempt_to_connect_is_closed() {
    let (world, mut scheduler) = world();
    let caller = caller(&world);
    scheduler
        .block_on(async {
            assert!(caller.connect().now_or_never().is_none());
            until(&world, SECOND).await;
            assert!(!caller.is_open(0));
        })
        .unwrap();
}

#[test]
fn a_reset_ends_the_sender_at_once_and_the_other_end_when_it_speaks() {
    let (world, mut scheduler) = world();
    let caller = caller(&world);
    let timer = runtime(&world, HARNESS);
    scheduler
        .block_on(async {
            let connection = caller.connect().await.unwrap().keep();
            *world.lock().net.link(CLIENT, NODE).closed(Refusal::Reset) += 1;
            assert_eq!(world.lock().carries(CLIENT, NODE), "reset");
            let sent = world.lock().now;
            assert_eq!((caller.call(connection, incr()).await, caller.is_open(connection)), (None, false));
            assert!(world.lock().now - sent < 100 * MILLISECOND, "at once");
            assert_eq!(count(&world), 0, "the node never heard of it");
            assert!(caller.connect().await.is_none(), "refused");
            *world.lock().net.link(CLIENT, NODE).closed(Refusal::Reset) -= 1;

            // The way back alone: the node executes, its answer is refused, the client hears nothing until it speaks
            // again.
            let connection = caller.connect().await.unwrap().keep();
            *world.lock().net.link(NODE, CLIENT).closed(Refusal::Reset) += 1;
            let second = Nanos(world.lock().now + SECOND);
            assert!(before(&*timer, second, caller.call(connection, incr())).await.is_none());
            assert_eq!((count(&world), caller.is_open(connection)), (1, true));
            assert_eq!((caller.call(connection, incr()).await, caller.is_open(connection)), (None, false));
            assert_eq!(count(&world), 1, "the node's end was over");
        })
        .unwrap();
}

/// Whichever way the handshake is kept from its end: RFC 6298's second, doubled each time.
#[test]
fn a_connection_is_asked_for_again_after_one_three_and_seven_seconds() {
    for (from, to, refusal) in
        [(CLIENT, NODE, Refusal::Drop), (NODE, CLIENT, Refusal::Drop), (NODE, CLIENT, Refusal::Reset)]
    {
        for (healed, there) in [(500 * MILLISECOND, SECOND), (2 * SECOND, 3 * SECOND), (4 * SECOND, 7 * SECOND)] {
            let (world, mut scheduler) = world();
            let caller = caller(&world);
            scheduler
                .block_on(async {
                    *world.lock().net.link(from, to).closed(refusal) += 1;
                    let heal = async {
                        until(&world, healed).await;
                        *world.lock().net.link(from, to).closed(refusal) -= 1;
                    };
                    let connect = async {
                        let connection = caller.connect().await.unwrap().keep();
                        (connection, world.lock().now)
                    };
                    let ((), (connection, at)) = join(heal, connect).await;
                    assert!((there..there + 30 * MILLISECOND).contains(&at), "{refusal:?} {from}: {at}");
                    assert_eq!(number(caller.call(connection, incr()).await), 1, "both ends are there");
                })
                .unwrap();
        }
    }
}

#[test]
fn a_fresh_connection_does_not_come_about_where_replies_are_lost() {
    for (connections, executed) in [(Connections::Pooled, true), (Connections::Fresh, false)] {
        let (world, mut scheduler) = world();
        let link = RedisLink::new("redis-1".to_owned(), caller(&world), connections, runtime(&world, CLIENT));
        let timer = runtime(&world, HARNESS);
        let (owner, ttl) = (OwnerToken::new("me"), Duration::from_secs(60));
        scheduler
            .block_on(async {
                assert_eq!(link.set_if_absent("first", &owner, ttl).await, Ok(true));
                cut(&world, NODE, CLIENT, true);
                let second = Nanos(world.lock().now + SECOND);
                assert!(before(&*timer, second, link.set_if_absent("second", &owner, ttl)).await.is_none());
                assert_eq!(keys(&world.lock()).peek("second").is_some(), executed, "{connections:?}");
            })
            .unwrap();
    }
}
