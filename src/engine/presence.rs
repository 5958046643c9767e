//! Whether a device that fails is being pulled: the kernel fails its reads before it takes it away.
//!
//! What is found out about a device after that moment must not be kept: an unreadable disk looks damaged or empty.

use std::time::Duration;

use super::EngineError;

/// How long it may take from the first failed read until the device is gone.
const MOMENT: Duration = Duration::from_secs(2);
/// How often it is looked for within that time.
const OFTEN: Duration = Duration::from_millis(50);

/// Whether what is there now is gone within a moment.
pub(super) async fn vanishes(is_there: impl Fn() -> bool) -> bool {
    let vanished = async {
        let mut looks = tokio::time::interval(OFTEN);
        while is_there() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(MOMENT, vanished).await.is_ok()
}

/// The error, or that the device was pulled, if that may be its cause.
pub(super) async fn or_gone(error: EngineError, is_there: impl Fn() -> bool) -> EngineError {
    if is_there() && error.needs_operator() {
        return error;
    }
    if vanishes(is_there).await {
        EngineError::Gone
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io::{Error, ErrorKind};

    fn unreadable() -> EngineError {
        EngineError::Read(Error::from(ErrorKind::UnexpectedEof))
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_shortly_before_the_device_is_gone_comes_of_that() {
        let looks = Cell::new(0);
        let is_there = || {
            looks.set(looks.get() + 1);
            looks.get() < 20
        };
        let error = or_gone(unreadable(), is_there).await;
        assert!(matches!(error, EngineError::Gone), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_of_a_device_that_stays_is_its_own() {
        let error = or_gone(unreadable(), || true).await;
        assert!(matches!(error, EngineError::Read(_)), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_to_stop_is_no_sign_of_a_pulled_device() {
        let error = or_gone(EngineError::Stopped, || true).await;
        assert!(matches!(error, EngineError::Stopped), "{error}");
        let error = or_gone(EngineError::Stopped, || false).await;
        assert!(matches!(error, EngineError::Gone), "{error}");
    }
}
