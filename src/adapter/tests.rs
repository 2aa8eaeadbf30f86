//! Programs that behave and programs that do not, as shell scripts.

use std::sync::Arc;
use std::time::Duration;

use super::check::check;
use super::driver::Limits;
use super::lock::AdapterLock;
use super::misdeed::{Gravity, Kept, Misdeed, Witness};
use super::program::Spec;
use crate::ids::LockName;
use crate::lock::runtime::{SharedRuntime, TokioRuntime};
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Guard, GuardState, LostReason, ReleaseOutcome};
use crate::seed::Seed;

/// A lock of one host: a folder that exists is held. Takes requests apart as a shell script can.
const FOLDER: &str = r#"
echo '{"hello":{"name":"mkdir","version":"1","capabilities":[]}}'
while read -r line; do
    id=${line#*'"id":'}; id=${id%%,*}
    lock=${line#*'"lock":"'}; lock=${lock%%'"'*}
    wait=${line#*'"wait_ms":'}; wait=${wait%'}'}
    case $line in
    *'"op":"acquire"'*)
        result=fail
        tries=$((${wait:-0} / 20))
        while :; do
            if mkdir "$DIR/$lock" 2>/dev/null; then result=ok; break; fi
            [ "$tries" -gt 0 ] || break
            tries=$((tries - 1)); sleep 0.02
        done ;;
    *) if rmdir "$DIR/$lock" 2>/dev/null; then result=released; else result=expired; fi ;;
    esac
    echo "{\"id\":$id,\"result\":\"$result\"}"
done
"#;

fn spec(script: &str) -> Spec {
    Spec {
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        folder: None,
        backend: "redis".to_owned(),
        servers: vec!["127.0.0.1:1".to_owned()],
        lease: None,
        client: 1,
    }
}

struct Table {
    lock: AdapterLock,
    kept: Arc<Kept>,
}

/// Opens a lock over a script that says hello with these capabilities and then runs `script`.
async fn open(capabilities: &str, script: &str) -> Table {
    let hello = format!(r#"{{"hello":{{"name":"x","version":"1","capabilities":[{capabilities}]}}}}"#);
    let limits = Limits { hello: Duration::from_secs(20), answer: Duration::from_millis(600) };
    opened(limits, &format!("echo '{hello}'\n{script}")).await.unwrap()
}

async fn opened(limits: Limits, script: &str) -> Result<Table, String> {
    let kept = Arc::new(Kept::default());
    let witness = Arc::clone(&kept) as Arc<dyn Witness>;
    let runtime: SharedRuntime = Arc::new(TokioRuntime::new(Seed(1)));
    let lock = AdapterLock::open_within(limits, spec(script), "fp-".to_owned(), None, runtime, witness).await?;
    Ok(Table { lock, kept })
}

impl Table {
    async fn acquire(&self) -> Result<Guard, AcquireError> {
        self.lock.acquire(&LockName::new("l"), &AcquireOptions::default()).await
    }

    /// The one misdeed that was told.
    fn told(&self) -> (Gravity, String) {
        let told = self.kept.take();
        let [Misdeed { gravity, text }] = told.as_slice() else { panic!("{told:?}") };
        (*gravity, text.clone())
    }
}

/// Answers each request with `ok` or `released`.
const OBLIGING: &str = r#"
answer() { id=${line#*'"id":'}; id=${id%%,*}; case $line in *release*) result=released ;; *) result=ok ;; esac
    echo "{\"id\":$id,\"result\":\"$result\"}"; }
"#;

#[tokio::test]
async fn a_lock_of_a_few_lines_passes_in_fair_weather() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("DIR={}\n{FOLDER}", folder.path().display());
    let mut seen = 0;
    let checked = check(&spec(&script), &mut |_| seen += 1).await.unwrap();
    assert!(checked.passed(), "{checked:#?}");
    assert_eq!((checked.hello.name.as_str(), seen), ("mkdir", checked.steps.len()));
    assert_eq!(seen, 7);
}

#[tokio::test]
async fn what_is_no_lock_does_not_pass() {
    let hello = r#"echo '{"hello":{"name":"x","version":"1","capabilities":[]}}'"#;
    let grants_all = format!("{hello}\n{OBLIGING}\nwhile read -r line; do answer; done");
    let checked = check(&spec(&grants_all), &mut |_| {}).await.unwrap();
    let wrong = checked.steps.iter().find_map(|step| step.wrong.as_deref().map(|wrong| (step.what, wrong)));
    assert_eq!(wrong, Some(("refuses a held lock", "it granted it to a second client")));
    assert!(!checked.passed());
    let never = format!(
        "{hello}\nwhile read -r line; do id=${{line#*:}}; echo \"{{\\\"id\\\":${{id%%,*}},\\\"result\\\":\\\"fail\\\"}}\"; done"
    );
    let checked = check(&spec(&never), &mut |_| {}).await.unwrap();
    assert!(!checked.passed() && checked.steps.len() == 1, "{checked:#?}");
}

#[tokio::test]
async fn one_that_cannot_be_started_or_does_not_greet_is_refused_with_the_reason() {
    let brief = Limits { hello: Duration::from_millis(500), answer: Duration::from_secs(1) };
    let cases = [
        ("echo no such library >&2; exit 3", "exit code 3); its last words on standard error: no such library"),
        ("sleep 30", "did not introduce itself within"),
        (r#"echo '{"hello":{"name":"x"}}'; sleep 9"#, "cannot be read: missing field `version`"),
        (r#"echo '{"id":1,"result":"ok"}'; sleep 9"#, "before its hello"),
        ("yes", "floods"),
    ];
    for (script, says) in cases {
        let error = opened(brief, script).await.err().unwrap_or_default();
        assert!(error.contains(says), "{script}: {error}");
    }
    let mut missing = spec("");
    missing.command = vec!["/no/such/program".to_owned()];
    let runtime: SharedRuntime = Arc::new(TokioRuntime::new(Seed(1)));
    let error = AdapterLock::open(missing, String::new(), None, runtime, Arc::new(Kept::default())).await.err();
    assert!(error.is_some_and(|error| error.starts_with("cannot start `/no/such/program`")));
}

#[tokio::test]
async fn a_print_to_standard_output_is_told_once_and_does_no_harm() {
    let table =
        open("", &format!("{OBLIGING}\nwhile read -r line; do echo got it; echo \"$line\" | cut -c 99-; answer; done"))
            .await;
    let guard = table.acquire().await.unwrap();
    assert_eq!(guard.release().await, ReleaseOutcome::Released);
    let (gravity, text) = table.told();
    assert!(gravity == Gravity::Noise && text.contains("standard output") && text.contains("`got it`"), "{text}");
}

#[tokio::test]
async fn what_contradicts_the_protocol_is_a_breach() {
    let cases = [
        ("answer; answer", "answered a request twice"),
        (r#"echo '{"id":99,"result":"ok"}'; answer"#, "which was not made"),
        (r#"echo '{"id":1,"result":"granted"}'; answer"#, "unknown variant `granted`"),
        (r#"echo '{"id":1,"result":"released"}'"#, "answered acquire with released; it is one of ok, fail, unknown"),
        (r#"echo '{"id":1'; answer"#, "not JSON"),
    ];
    for (script, says) in cases {
        let table = open("", &format!("{OBLIGING}\nread -r line; {script}; while read -r line; do answer; done")).await;
        let _ = table.acquire().await;
        // A second answer may come after the first was taken.
        let _ = table.acquire().await;
        let told = table.kept.take();
        let breach = told.iter().find(|misdeed| misdeed.gravity == Gravity::Breach);
        assert!(breach.is_some_and(|breach| breach.text.contains(says)), "{script}: {told:?}");
    }
}

#[tokio::test]
async fn one_that_dies_in_mid_request_leaves_it_in_doubt_and_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let once = format!("{}/died", folder.path().display());
    let script = format!(
        "{OBLIGING}\nread -r line; [ -e {once} ] || {{ touch {once}; echo out of memory >&2; exit 7; }}; answer; while read -r line; do answer; done"
    );
    let table = open("", &script).await;
    let error = table.acquire().await.err().unwrap();
    assert!(matches!(&error, AcquireError::InDoubt(why) if why.contains("exit code 7")), "{error}");
    let (gravity, text) = table.told();
    assert!(
        gravity == Gravity::Failure && text.contains("asked to acquire") && text.contains("out of memory"),
        "{text}"
    );
    assert!(table.acquire().await.is_ok(), "it goes on");
}

#[tokio::test]
async fn one_that_stops_answering_or_floods_leaves_it_in_doubt() {
    for (script, says) in [
        ("sleep 60", "did not answer within 600ms"),
        ("yes", "floods: more than 1000 lines"),
        ("head -c 200000 /dev/zero", "longer than"),
    ] {
        let table = open("", &format!("{OBLIGING}\nread -r line; {script}; sleep 60")).await;
        let error = table.acquire().await.err().unwrap();
        let says = says.replace("longer than", "a line of more than 64 KiB");
        assert!(matches!(&error, AcquireError::InDoubt(why) if why.contains(&says)), "{script}: {error}");
        assert_eq!(table.kept.take().last().map(|misdeed| misdeed.gravity), Some(Gravity::Failure));
    }
}

#[tokio::test]
async fn one_that_fails_again_and_again_is_given_up() {
    let table = open("", "read -r line; exit 1").await;
    for _ in 0..3 {
        assert!(matches!(table.acquire().await, Err(AcquireError::InDoubt(_))));
    }
    let told: Vec<Gravity> = table.kept.take().iter().map(|misdeed| misdeed.gravity).collect();
    assert_eq!(told, [Gravity::Failure, Gravity::Failure, Gravity::GaveUp]);
    // It was not even asked: nothing can have come of it.
    assert!(matches!(table.acquire().await, Err(AcquireError::Refused(_))));
}

#[tokio::test]
async fn what_a_dead_program_held_is_lost() {
    let table = open("", &format!("{OBLIGING}\nread -r line; answer; exit 0")).await;
    let guard = table.acquire().await.unwrap();
    let LostReason::Revoked(why) = guard.lost().await else { panic!("lost otherwise") };
    assert!(why.contains("the program ended"), "{why}");
    assert!(matches!(guard.release().await, ReleaseOutcome::Unknown(_)), "the new program has never held it");
}

#[tokio::test]
async fn a_loss_that_the_program_tells_is_heard_and_one_that_it_cannot_tell_is_not() {
    let script = format!(
        r#"{OBLIGING} read -r line; answer; echo '{{"lost":"fp-other"}}'; echo '{{"lost":"fp-l","error":"session expired"}}'; while read -r line; do answer; done"#
    );
    let table = open(r#""lost""#, &script).await;
    let guard = table.acquire().await.unwrap();
    assert_eq!(guard.lost().await, LostReason::Revoked("session expired".to_owned()));
    assert!(table.kept.take().is_empty());
    let table = open("", &script).await;
    let guard = table.acquire().await.unwrap();
    assert_eq!(guard.release().await, ReleaseOutcome::Released);
    assert!(table.told().1.contains("without the capability lost"));
}

#[tokio::test]
async fn a_validity_counts_from_when_the_program_says_so() {
    let script = |fields: &str| {
        format!(r#"read -r line; echo '{{"id":1,"result":"ok",{fields}}}'; while read -r line; do :; done"#)
    };
    let table = open(r#""valid_for""#, &script(r#""valid_for_ms":60000"#)).await;
    let guard = table.acquire().await.unwrap();
    assert!(guard.remaining() <= Duration::from_secs(60) && guard.remaining() > Duration::from_secs(30));
    let table = open(r#""valid_for""#, &script(r#""valid_for_ms":-5"#)).await;
    let guard = table.acquire().await.unwrap();
    assert_eq!(guard.state(), GuardState::Lost(LostReason::Expired), "it was over when it was handed out");
    let table = open(r#""valid_for""#, &script(r#""valid_for_ms":60000,"now_ns":17"#)).await;
    let _guard = table.acquire().await.unwrap();
    assert!(table.told().1.contains("CLOCK_MONOTONIC"));
    // Without the capability there is no validity, and so no end of it.
    let table = open("", &script(r#""valid_for_ms":1"#)).await;
    let guard = table.acquire().await.unwrap();
    assert_eq!(guard.valid_until(), crate::lock::UNSTATED);
    assert!(table.told().1.contains("without the capability valid_for"));
    let table = open(r#""valid_for""#, &script(r#""token":1"#)).await;
    let _guard = table.acquire().await.unwrap();
    let told = table.kept.take();
    assert_eq!(told.iter().map(|misdeed| misdeed.gravity).collect::<Vec<_>>(), [Gravity::Noise, Gravity::Breach]);
}

#[tokio::test]
async fn a_lock_that_has_to_be_asked_is_asked() {
    let script = format!(
        r#"{OBLIGING} read -r line; answer; read -r line; answer; read -r line; echo '{{"id":3,"result":"expired"}}'; while read -r line; do answer; done"#
    );
    let table = open(r#""is_valid""#, &script).await;
    let guard = table.acquire().await.unwrap();
    assert!(guard.confirmed().await);
    assert!(!guard.confirmed().await);
    assert!(matches!(guard.state(), GuardState::Lost(LostReason::Revoked(_))));
}

#[tokio::test]
async fn a_grant_that_nobody_waits_for_any_more_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let script = format!(
        "{OBLIGING}\nwhile read -r line; do echo \"$line\" >>{}; case $line in *acquire*) sleep 0.3 ;; esac; answer; done",
        log.display()
    );
    let table = open("", &script).await;
    let given_up = tokio::time::timeout(Duration::from_millis(50), table.acquire()).await;
    assert!(given_up.is_err());
    // Requests are served in order.
    let guard = table.lock.acquire(&LockName::new("m"), &AcquireOptions::default()).await.unwrap();
    let asked = std::fs::read_to_string(&log).unwrap();
    let ops: Vec<&str> = asked.lines().filter_map(|line| line.split('"').nth(5)).collect();
    assert_eq!(ops, ["acquire", "release", "acquire"]);
    drop(guard);
    table.lock.close().await;
}
