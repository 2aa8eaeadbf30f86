//! The nftables text of a layer. Pure: nothing here runs anything.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::{Count, Effect, Layer};

/// The names of our nft tables begin with this.
pub const TABLE_PREFIX: &str = "fencepost_";

/// The mark of packets that are to be held back, and the mask under which it is looked for.
pub(super) const LATE_MARK: &str = "0x46500000/0xffff0000";

/// The number of our queue of packets in each namespace.
pub(super) const QUEUE: u16 = 4650;

/// Lays a table, in one transaction; one of the same name is replaced. Each peer has rules and counters of its own, so
/// that for each of them it can be proved that the table met it; and each stands in a set whose elements the kernel
/// forgets by itself: an effect ends even if everybody who could end it is dead.
pub(super) fn lay(layer: &Layer) -> String {
    let Layer { table, incoming, outgoing, effect, expiry, .. } = layer;
    let mut text = format!("{}table inet {table} {{\n", lift(table));
    for (way, peers) in [(Way::In, incoming), (Way::Out, outgoing)] {
        if !peers.is_empty() {
            text += &way.chain(peers, *effect, *expiry);
        }
    }
    text + "}\n"
}

/// Packets that arrive, or that leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }

    /// The counters, the set and the chain for packets that go this way.
    fn chain(self, peers: &[Ipv4Addr], effect: Effect, expiry: u64) -> String {
        let (word, side) = (self.word(), if self == Self::In { "saddr" } else { "daddr" });
        let elements: Vec<String> = peers.iter().map(|peer| format!("{peer} timeout {expiry}ms")).collect();
        let mut text =
            format!("set {word} {{ type ipv4_addr; flags timeout; elements = {{ {} }}; }}\n", elements.join(", "));
        let mut rules = String::new();
        if effect == Effect::Reset {
            let _ = writeln!(rules, "ip {side} @{word} tcp flags & rst == rst accept");
        }
        for peer in peers {
            let name = format!("{word}_{}", peer.to_string().replace('.', "_"));
            let _ = write!(text, "counter met_{name} {{}}\ncounter struck_{name} {{}}\n");
            let packet = format!("ip {side} {peer} ip {side} @{word}");
            let struck = format!("counter name \"struck_{name}\"");
            let _ = writeln!(rules, "{packet} counter name \"met_{name}\"");
            let _ = match effect {
                Effect::Drop => writeln!(rules, "{packet} {struck} drop"),
                Effect::Reset => {
                    writeln!(rules, "{packet} meta l4proto tcp {struck} reject with tcp reset\n{packet} {struck} drop")
                }
                Effect::Lose { permille } => {
                    writeln!(rules, "{packet} numgen random mod 1000 < {permille} {struck} drop")
                }
                Effect::Late { .. } => {
                    let (mark, _) = LATE_MARK.split_once('/').unwrap_or((LATE_MARK, ""));
                    writeln!(rules, "{packet} {struck} meta mark set {mark}")
                }
            };
        }
        let _ =
            write!(text, "chain {word}put {{\ntype filter hook {word}put priority -300; policy accept;\n{rules}}}\n");
        text
    }
}

/// What undoes [`lay`].
pub(super) fn lift(table: &str) -> String {
    // Adding first: one that is gone is fine.
    format!("table inet {table}\ndelete table inet {table}\n")
}

/// Makes a table do nothing, and keeps it: taking its chains away would cost the packets that are held back.
pub(super) fn idle(table: &str) -> String {
    // Adding first, as above: the watchdog may have been quicker.
    format!("table inet {table}\nflush table inet {table}\n")
}

/// Our tables in what `nft list tables` prints.
pub(super) fn ours(listed: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("table inet ").map(|name| name.trim().to_owned());
    listed.lines().filter_map(name).filter(|name| name.starts_with(TABLE_PREFIX)).collect()
}

/// Whether the table is listed in which iptables keeps the rule that hands packets over to us.
pub(super) fn may_divert(listed: &str) -> bool {
    listed.lines().any(|line| line.trim() == "table ip mangle")
}

/// What the counters of a table say, from `nft -j list counters table …`.
pub(super) fn counts(json: &str) -> Option<Vec<Count>> {
    let listed: serde_json::Value = serde_json::from_str(json).ok()?;
    let mut counts: Vec<Count> = Vec::new();
    for counter in listed["nftables"].as_array()?.iter().filter_map(|item| item.get("counter")) {
        let (kind, rest) = counter["name"].as_str()?.split_once('_')?;
        let (way, address) = rest.split_once('_')?;
        let (peer, outgoing) = (address.replace('_', ".").parse().ok()?, way == Way::Out.word());
        let packets = counter["packets"].as_u64()?;
        let known = counts.iter().position(|count| (count.peer, count.outgoing) == (peer, outgoing));
        let at = known.unwrap_or_else(|| {
            counts.push(Count { peer, outgoing, met: 0, struck: 0 });
            counts.len() - 1
        });
        match kind {
            "met" => counts[at].met = packets,
            _ => counts[at].struck = packets,
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::super::Door;
    use super::*;

    const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    fn text(effect: Effect) -> String {
        let door = Door { pid: 1, address: Ipv4Addr::new(10, 0, 0, 1) };
        let table = "fencepost_0_1".to_owned();
        lay(&Layer { door, table, incoming: vec![PEER], outgoing: Vec::new(), effect, expiry: 3_000 })
    }

    #[test]
    fn every_effect_is_of_one_peer_and_expires_by_itself() {
        let late = Effect::Late { least: 1, most: 2, seed: 3 };
        for (effect, does) in [
            (Effect::Drop, "ip saddr 10.0.0.7 ip saddr @in counter name \"struck_in_10_0_0_7\" drop"),
            (Effect::Reset, "reject with tcp reset"),
            (Effect::Lose { permille: 25 }, "numgen random mod 1000 < 25 counter name \"struck_in_10_0_0_7\" drop"),
            (late, "meta mark set 0x46500000"),
        ] {
            let text = text(effect);
            assert!(text.contains("10.0.0.7 timeout 3000ms"), "{text}");
            assert!(text.contains(does), "{text}");
        }
        assert!(text(Effect::Reset).contains("rst accept") && !text(Effect::Drop).contains("rst"));
    }

    #[test]
    fn packets_are_struck_only_on_the_way_that_was_asked_for() {
        let door = Door { pid: 1, address: Ipv4Addr::new(10, 0, 0, 1) };
        let (table, effect) = ("fencepost_0_1".to_owned(), Effect::Drop);
        let out = lay(&Layer { door, table, incoming: Vec::new(), outgoing: vec![PEER], effect, expiry: 1 });
        assert!(out.contains("hook output") && out.contains("ip daddr 10.0.0.7"), "{out}");
        assert!(!out.contains("hook input") && !out.contains("saddr"), "{out}");
    }

    #[test]
    fn counters_are_read_by_peer() {
        let json = r#"{"nftables":[{"metainfo":{"version":"1"}},
            {"counter":{"family":"inet","name":"met_in_10_0_0_7","table":"t","handle":1,"packets":12,"bytes":9}},
            {"counter":{"family":"inet","name":"struck_in_10_0_0_7","table":"t","handle":2,"packets":5,"bytes":9}}]}"#;
        assert_eq!(counts(json), Some(vec![Count { peer: PEER, outgoing: false, met: 12, struck: 5 }]));
        assert_eq!(counts("no json"), None);
    }

    #[test]
    fn only_our_tables_are_ours() {
        let listed = "table inet filter\ntable ip fencepost_ours\ntable inet fencepost_0_1\n";
        assert_eq!(ours(listed), ["fencepost_0_1"]);
        assert!(!may_divert(listed) && may_divert("table ip mangle\n"));
    }
}
