//! `calibrate`: real round trips beside simulated ones.

use fencepost::cli::{CalibrateArgs, HuntFormat};
use fencepost::run;

use super::console::{Progress, say};
use super::failure::Failure;

pub async fn calibrate(args: &CalibrateArgs) -> Result<u8, Failure> {
    let progress = Progress::new();
    let calibration = run::calibrate::calibrate(args.rounds as usize, &|message| progress.say(message)).await;
    progress.clear();
    let calibration = calibration?;
    match args.format {
        HuntFormat::Human => say(calibration.to_string().trim_end())?,
        HuntFormat::Json => say(&calibration.json().to_string())?,
    }
    Ok(0)
}
