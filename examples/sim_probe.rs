use fencepost::{check, env::sim, scenario::{self, Capabilities}, seed::Seed};
fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap();
    let lock = args.next().unwrap();
    let seeds: u64 = args.next().unwrap().parse().unwrap();
    let scenario = scenario::load(path.as_ref(), &Capabilities::sim()).unwrap();
    let started = std::time::Instant::now();
    let (mut events, mut simulated, mut ops) = (0, 0.0, 0);
    let mut tally = std::collections::BTreeMap::<String, u32>::new();
    for seed in 0..seeds {
        let outcome = sim::run_trial(&scenario, &lock, Seed(seed));
        let judgement = check::judge(&outcome.history);
        events += outcome.trace.events();
        ops += outcome.history.ops.len();
        simulated += outcome.simulated.as_secs_f64();
        let line = judgement.checks.iter().map(|c| format!("{}={}", c.check, c.verdict)).collect::<Vec<_>>().join(" ");
        *tally.entry(format!("{line} {:?}", outcome.error)).or_default() += 1;
        if seed < 1 { println!("{} {:016x} {} ops", seed, outcome.trace.hash, outcome.history.ops.len()); for c in &judgement.checks { println!("  {} {}: {}", c.check, c.verdict, c.summary); if let Some(v) = c.violations.first() { println!("      {}", v.text); } } }
    }
    let took = started.elapsed().as_secs_f64();
    for (line, n) in tally { println!("{n:5} {line}"); }
    println!("{:.0} simulated s/s, {:.2} M events/s, {} ops, {took:.2}s", simulated / took, events as f64 / took / 1e6, ops);
}
