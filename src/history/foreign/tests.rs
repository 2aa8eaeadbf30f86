//! Histories as Jepsen and its suites write them, and what is wrong with some.

use super::*;

fn read_by(text: &str, naming: &Naming) -> Result<Foreign, HistoryError> {
    read(|| Ok(text.as_bytes()), Path::new("test.edn"), naming)
}

fn foreign(text: &str) -> Foreign {
    read_by(text, &Naming::default()).unwrap_or_else(|error| panic!("{error:?}"))
}

fn refused(text: &str) -> (usize, String) {
    match read_by(text, &Naming::default()) {
        Err(HistoryError::Malformed { line, reason, .. }) => (line, reason),
        other => panic!("{text}: {other:?}"),
    }
}

fn told(foreign: &Foreign) -> Vec<String> {
    let line = |op: &Op| {
        let token = op.token.map_or_else(String::new, |token| format!(" token {token}"));
        let hold = op.hold.as_ref().unwrap();
        format!("{} {:?} {} {} {hold}{token} @{}", op.process, op.kind, op.f, op.lock.as_ref().unwrap(), op.time.0)
    };
    foreign.history.ops.iter().map(line).collect()
}

#[test]
fn a_history_of_jepsens_is_read() {
    let foreign = foreign(
        "{:type :invoke, :f :acquire, :value nil, :process 0, :time 123, :index 0}\n\
         {:type :info, :f :start-partition, :value :majority, :process :nemesis, :time 124, :index 1}\n\
         {:type :ok, :f :acquire, :value nil, :process 0, :time 120, :index 2}\n\
         {:type :invoke, :f :read, :value nil, :process 1, :time 130, :index 3}\n\
         {:type :invoke, :f :release, :value nil, :process 0, :time 140, :index 4}\n\
         {:type :fail, :f :release, :value nil, :process 0, :time 150, :error [:not-held \"gone\"], :index 5}\n",
    );
    let expected = [
        "0 Invoke acquire lock c0-1 @123",
        "0 Ok acquire lock c0-1 @124",
        "0 Invoke release lock c0-1 @140",
        "0 Fail release lock c0-1 @150",
    ];
    assert_eq!(told(&foreign), expected, "the file's order counts, not :time");
    assert_eq!(foreign.reading.passed(), 2);
    assert_eq!(foreign.history.ops[3].error.as_deref(), Some("[:not-held \"gone\"]"));
    assert_eq!(foreign.history.header.clients, 1);
}

#[test]
fn locks_and_tokens_are_found_where_suites_put_them() {
    let tokens = |value: &str, key: &str| {
        let text = format!(
            "[#jepsen.history.Op{{:process 3, :type :invoke, :f :acquire, :value nil{key}}}\n\
             #jepsen.history.Op{{:process 3, :type :ok, :f :acquire, :value {value}{key}}}]"
        );
        let op = foreign(&text).history.ops.remove(1);
        (op.lock.unwrap().to_string(), op.token.map(|token| token.0))
    };
    assert_eq!(tokens("12", ""), ("lock".to_owned(), Some(12)));
    assert_eq!(tokens("nil", ", :token 7, :lock \"a\""), ("a".to_owned(), Some(7)));
    assert_eq!(tokens("{:client \"x\", :fence 5, :uid \"u\"}", ""), ("lock".to_owned(), Some(5)));
    assert_eq!(tokens("{:fence 0}", ""), ("lock".to_owned(), None));
    let pair = "{:process 1, :type :invoke, :f :acquire, :value [\"k\" nil]} {:process 1, :type :ok, :f :acquire, :value [\"k\" 9]}";
    assert_eq!(told(&foreign(pair))[1], "1 Ok acquire k c1-1 token 9 @1000000");
}

#[test]
fn the_value_of_a_completion_names_a_lock_only_where_that_of_the_invocation_did() {
    let ops = |invoked: &str, kind: &str, completed: &str| {
        format!(
            "{{:process 0, :type :invoke, :f :acquire, {invoked}}}\n\
             {{:process 0, :type :{kind}, :f :acquire, {completed}}}\n"
        )
    };
    for (invoked, kind, completed, lock) in [
        (":value nil", "info", ":value :timeout", "lock"),
        (":value nil", "fail", ":value \"no quorum\"", "lock"),
        (":value nil", "ok", ":value :granted", "lock"),
        (":value nil", "info", ":value [:timeout 30]", "lock"),
        (":value nil", "fail", ":value [{:cause :timeout} 1]", "lock"),
        (":value nil", "ok", ":lock \"lock\", :value :granted", "lock"),
        (":lock \"a\"", "info", ":lock \"a\", :value :timeout", "a"),
        (":lock \"a\"", "info", ":value :timeout", "a"),
        (":value {:lock \"a\"}", "info", ":value :timeout", "a"),
        (":value :a", "ok", ":value :a", "a"),
        (":value :a", "info", ":value nil", "a"),
        (":value [\"a\" nil]", "ok", ":value [\"a\" 3]", "a"),
    ] {
        let read = foreign(&ops(invoked, kind, completed)).history;
        let locks: Vec<_> = read.ops.iter().map(|op| op.lock.as_ref().unwrap().to_string()).collect();
        assert_eq!(locks, [lock, lock], "{invoked}, {completed}");
    }
    for (invoked, completed) in [
        (":value :a", ":value :b"),
        (":value nil", ":lock :b"),
        (":value [:a 1]", ":value [:b 1]"),
        (":lock :a", ":lock :b"),
    ] {
        let (line, reason) = refused(&ops(invoked, "ok", completed));
        assert_eq!(line, 2, "{reason}");
        assert!(reason.contains("on another lock"), "{reason}");
    }
}

#[test]
fn releases_belong_to_the_last_hold_of_their_process() {
    let text: String = ["invoke :f :acquire", "ok :f :acquire", "invoke :f :acquire", "ok :f :acquire"]
        .into_iter()
        .chain(["invoke :f :release", "ok :f :release"].repeat(3))
        .map(|op| format!("{{:process 0 :type :{op}}}\n"))
        .collect();
    let holds: Vec<_> = foreign(&text).history.ops.iter().map(|op| op.hold.clone().unwrap().to_string()).collect();
    assert_eq!(holds, ["c0-1", "c0-1", "c0-2", "c0-2", "c0-2", "c0-2", "c0-1", "c0-1", "c0-2", "c0-2"]);
}

#[test]
fn mistakes_are_told_with_their_line_and_what_would_be_right() {
    let invoke = "{:process 0, :type :invoke, :f :acquire}\n";
    let ok = "{:process 0, :type :ok, :f :acquire}\n";
    let info = "{:process 0, :type :info, :f :acquire}\n";
    let cases = [
        (ok.to_owned(), 1, "had not begun"),
        (format!("{invoke}{invoke}"), 2, "one thing at a time"),
        (format!("{invoke}{info}{invoke}"), 3, "another process number"),
        (format!("{invoke}{{:process 0, :type :okay, :f :acquire}}"), 2, ":invoke, :ok, :fail and :info"),
        ("{:process 0, :type :ok}".to_owned(), 1, "lacks :f"),
        ("{:process -4, :type :invoke, :f :acquire}".to_owned(), 1, "from 0"),
        ("{:process 1.5, :type :invoke, :f :acquire}".to_owned(), 1, "it is a number"),
        ("{:process 0, :type :invoke, :f :acquire, :time \"x\"}".to_owned(), 1, "whole number"),
        ("{:process 0, :type :invoke, :f :acquire, :time 9223372036854775807}".to_owned(), 1, "since the start"),
        ("{:process 0, :type :invoke, :f :acquire, :time 9223372036854775808}".to_owned(), 1, "since the start"),
        (format!("{invoke}\n#{{1 2}}"), 3, "an op is a map"),
        (format!("{invoke}{{:process 0 0}}"), 2, "not EDN"),
        (format!("{invoke}{{:process"), 2, "cut off"),
    ];
    for (text, line, remedy) in cases {
        let (at, reason) = refused(&text);
        assert_eq!(at, line, "{text}: {reason}");
        assert!(reason.contains(remedy), "{text}: {reason}");
    }
}

#[test]
fn nothing_in_a_file_makes_the_reader_panic_or_recurse() {
    let deep = format!("{{:process {}", "[".repeat(200_000));
    assert!(refused(&deep).1.contains("cut off"));
    let closed = format!("{{:a {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(refused(&closed).1.contains("lacks :process"));
}

#[test]
fn a_reason_quotes_no_more_than_a_reader_reads() {
    let (_, reason) = refused(&format!("{{:process 0, :type \"{}\", :f :acquire}}", "x".repeat(100_000)));
    assert!(reason.chars().count() < 500, "{reason}");
    assert!(reason.starts_with("its :type is") && reason.ends_with(":fail and :info"), "{reason}");
}
