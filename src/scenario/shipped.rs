//! The scenarios that ship by name, carried inside the binary, so that a stranger's lock is tried without a checkout.

/// Name and text of each, in name order.
pub const SHIPPED: &[(&str, &str)] = &[
    ("append-file", include_str!("../../scenarios/append-file.toml")),
    ("called-when-free", include_str!("../../scenarios/called-when-free.toml")),
    ("calm", include_str!("../../scenarios/calm.toml")),
    ("chaos", include_str!("../../scenarios/chaos.toml")),
    ("client-pause-fenced", include_str!("../../scenarios/client-pause-fenced.toml")),
    ("client-pause", include_str!("../../scenarios/client-pause.toml")),
    ("clock-drift", include_str!("../../scenarios/clock-drift.toml")),
    ("clock-jump", include_str!("../../scenarios/clock-jump.toml")),
    ("cut-after-acquire", include_str!("../../scenarios/cut-after-acquire.toml")),
    ("delayed-write-fenced", include_str!("../../scenarios/delayed-write-fenced.toml")),
    ("delayed-write", include_str!("../../scenarios/delayed-write.toml")),
    ("drift-inside-margin", include_str!("../../scenarios/drift-inside-margin.toml")),
    ("impatient-waiters", include_str!("../../scenarios/impatient-waiters.toml")),
    ("late-grant", include_str!("../../scenarios/late-grant.toml")),
    ("lawful-chaos", include_str!("../../scenarios/lawful-chaos.toml")),
    ("leader-kill", include_str!("../../scenarios/leader-kill.toml")),
    ("node-amnesia", include_str!("../../scenarios/node-amnesia.toml")),
    ("one-way-reply-loss", include_str!("../../scenarios/one-way-reply-loss.toml")),
    ("partition-client", include_str!("../../scenarios/partition-client.toml")),
    ("partition-majority", include_str!("../../scenarios/partition-majority.toml")),
    ("partition-minority", include_str!("../../scenarios/partition-minority.toml")),
    ("pause-before-validity-check", include_str!("../../scenarios/pause-before-validity-check.toml")),
    ("pause-while-asking", include_str!("../../scenarios/pause-while-asking.toml")),
    ("pause-while-renewing", include_str!("../../scenarios/pause-while-renewing.toml")),
    ("power-loss", include_str!("../../scenarios/power-loss.toml")),
    ("read-write", include_str!("../../scenarios/read-write.toml")),
    ("refused-requests", include_str!("../../scenarios/refused-requests.toml")),
    ("register-compare-and-set", include_str!("../../scenarios/register-compare-and-set.toml")),
    ("renewal-under-faults", include_str!("../../scenarios/renewal-under-faults.toml")),
    ("semaphore", include_str!("../../scenarios/semaphore.toml")),
    ("session-expiry", include_str!("../../scenarios/session-expiry.toml")),
    ("single-node-amnesia", include_str!("../../scenarios/single-node-amnesia.toml")),
    ("slow-holder", include_str!("../../scenarios/slow-holder.toml")),
    ("thawed-node", include_str!("../../scenarios/thawed-node.toml")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_the_folder_is_carried_along() {
        let listed = crate::scenario::list(std::path::Path::new("scenarios")).unwrap();
        let listed: Vec<&str> = listed.iter().map(|scenario| scenario.name.as_str()).collect();
        assert_eq!(SHIPPED.iter().map(|(name, _)| *name).collect::<Vec<_>>(), listed);
    }
}
