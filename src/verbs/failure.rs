//! What a verb fails with: one clear message, and the exit code.

use std::io::IsTerminal;

use fencepost::cli::stdout;
use fencepost::report::OWN_FAILURE;
use fencepost::run::RunError;

/// Bad arguments, a bad scenario, a bad history.
pub const BAD_REQUEST: u8 = 254;

/// One clear message, and the exit code.
pub struct Failure {
    pub code: u8,
    pub message: String,
}

impl Failure {
    pub fn bad_request(message: impl std::fmt::Display) -> Self {
        Self { code: BAD_REQUEST, message: format!("fencepost: {message:#}") }
    }

    pub fn own(message: impl std::fmt::Display) -> Self {
        Self { code: OWN_FAILURE, message: format!("fencepost: {message:#}") }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            // Drawn with the offending line, and colours where somebody looks.
            RunError::Scenario(error) if std::io::stderr().is_terminal() && stdout::colour_is_wanted() => {
                Self { code: BAD_REQUEST, message: error.styled() }
            }
            RunError::Scenario(error) => Self { code: BAD_REQUEST, message: error.to_string() },
            error if error.is_bad_request() => Self::bad_request(error),
            error => Self::own(error),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::own(error)
    }
}

/// Standard output could not take the result.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::own(format!("cannot print the result: {error}"))
    }
}
