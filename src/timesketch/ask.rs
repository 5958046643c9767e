//! One question to Timesketch: signed, sent, and sent once more if the server only refused the signature.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};

use super::error::ClientError;
use super::judge;
use super::session::{Keeper, Session};
use crate::config::delivery::Login;
use crate::http::{Answer, Budget, Wire};

/// Nothing but an upload has reason to take longer.
pub(super) const SHORT: Duration = Duration::from_secs(120);
/// Bytes of an answer.
pub(super) const ANSWER: usize = 1024 * 1024;
/// Bytes of an answer that lists things.
pub(super) const LIST: usize = 16 * 1024 * 1024;

/// A question.
pub(super) struct Ask<'a> {
    /// A verb with its object, for sentences.
    pub(super) action: String,
    pub(super) method: Method,
    /// With its query, below the address.
    pub(super) path: String,
    /// Bytes of the answer.
    pub(super) most: usize,
    /// Makes the body, anew for each try.
    pub(super) body: Body<'a>,
}

/// What makes a body.
pub(super) type Body<'a> =
    &'a (dyn Fn(RequestBuilder, &Wire) -> Result<Sending<'a>, ClientError> + Sync);

/// A request with its body, and what it may cost.
pub(super) struct Sending<'a> {
    pub(super) request: RequestBuilder,
    pub(super) budget: Budget<'a>,
}

impl Ask<'_> {
    /// Whether it asks for a change.
    pub(super) fn changes(&self) -> bool {
        self.method != Method::GET
    }

    /// Asks, and takes no answer for success that is none.
    pub(super) async fn put(&self, wire: &Wire, keeper: &Keeper) -> Result<Answer, ClientError> {
        let changing = self.changes();
        let mut session = keeper.open(wire, changing).await?;
        let (mut renewed, mut retokened) = (false, false);
        loop {
            let answer = self.try_once(wire, keeper, &session).await?;
            if judge::session_is_lost(&answer) && !renewed {
                renewed = true;
                if answer.status == 401 {
                    keeper.condemn(&session).await;
                }
                session = keeper.renew(wire, &session).await?;
            } else if changing && judge::token_is_stale(&answer) && !retokened {
                retokened = true;
                session = keeper.retoken(wire, &session).await?;
            } else {
                return judge::accept(&self.action, answer, changing);
            }
        }
    }

    async fn try_once(
        &self,
        wire: &Wire,
        keeper: &Keeper,
        session: &Session,
    ) -> Result<Answer, ClientError> {
        let request = wire.request(self.method.clone(), &self.path);
        let request = keeper.sign(request, wire, session, self.changes());
        let mut sending = (self.body)(request, wire)?;
        sending.budget.bytes = self.most;
        let request = sending.request.build();
        let request = request.map_err(|error| wire.unbuilt(&error))?;
        Ok(wire.exchange(request, sending.budget).await?)
    }
}

/// The budget of what is short.
pub(super) fn short<'a>(wire: &Wire) -> Budget<'a> {
    Budget {
        bytes: ANSWER,
        total: wire.limits().total.min(SHORT),
        moved: None,
        sent: None,
    }
}

/// Whether that way of being known has a password.
pub(super) const fn wants_password(login: Login) -> bool {
    matches!(login, Login::Password | Login::Basic)
}
