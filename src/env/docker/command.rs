//! Running another program with a time limit, and keeping the end of what it said for the error message.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How many lines of a failed program's output an error message quotes.
const TAIL_LINES: usize = 12;

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is not installed.
    #[error("the program `{program}` is not installed")]
    Missing {
        /// The program.
        program: String,
    },
    /// It could not be started.
    #[error("`{program}` could not be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ran into the limit and was ended.
    #[error("`{line}` did not finish within {limit:?} and was ended")]
    TimedOut {
        /// The command line.
        line: String,
        /// The limit.
        limit: Duration,
    },
    /// It said no.
    #[error("`{line}` failed:\n{output}")]
    Failed {
        /// The command line.
        line: String,
        /// The last lines it wrote.
        output: String,
    },
}

/// Runs `command` to its end and returns what it wrote to its standard output.
pub async fn run(command: &mut Command, limit: Duration) -> Result<String, CommandError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let line = command.as_std().get_args().fold(program.clone(), |line, arg| line + " " + &arg.to_string_lossy());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = match tokio::time::timeout(limit, command.output()).await {
        Err(_) => return Err(CommandError::TimedOut { line, limit }),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Err(CommandError::Missing { program }),
        Ok(Err(source)) => return Err(CommandError::Start { program, source }),
        Ok(Ok(output)) => output,
    };
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    // Builders explain themselves on standard output, Compose on standard error.
    Err(CommandError::Failed { line, output: tail(&(stdout + &String::from_utf8_lossy(&output.stderr))) })
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_failure_quotes_the_end_of_both_streams() {
        let error = run(&mut sh("seq 100; echo no room >&2; exit 3"), LONG).await.unwrap_err().to_string();
        assert!(error.contains("  100\n  no room"), "{error}");
        assert!(!error.contains("  50\n"), "{error}");
    }

    #[tokio::test]
    async fn success_returns_standard_output_alone() {
        assert_eq!(run(&mut sh("echo yes; echo noise >&2"), LONG).await.unwrap(), "yes\n");
    }

    #[tokio::test]
    async fn a_missing_program_and_a_slow_one_are_told_apart() {
        let error = run(&mut Command::new("fencepost-no-such-program"), LONG).await.unwrap_err();
        assert!(matches!(error, CommandError::Missing { .. }), "{error}");
        let error = run(&mut sh("exec sleep 60"), Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
    }
}
