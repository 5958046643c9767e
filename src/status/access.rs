//! Who may ask and who may act: by the user id that the kernel gives for the other side, and by groups.
//!
//! Look-ups of users and groups may wait for a directory service; callers keep them off threads that answer
//! others. Unknown means not allowed.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::config::worker::AgentSettings;
use crate::printable;

/// The groups that have rights. Root may do everything. The socket belongs to the readers' group: where the
/// two differ, an operator belongs to both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Group that may look.
    pub readers: String,
    /// Group that may look and act.
    pub operators: String,
}

/// Somebody, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// User name, or the number where there is no name; printable.
    pub name: String,
    /// Whether they may look.
    pub look: bool,
    /// Whether they may retry, cancel and release.
    pub act: bool,
}

impl Access {
    /// The groups of the configuration.
    #[must_use]
    pub fn of(settings: &AgentSettings) -> Self {
        Self {
            readers: settings.readers.clone(),
            operators: settings.operators.clone(),
        }
    }

    /// What a process with this user id and group id may do.
    #[must_use]
    pub fn person(&self, uid: u32, gid: u32) -> Person {
        if uid == 0 {
            let name = "root".to_owned();
            return Person {
                name,
                look: true,
                act: true,
            };
        }
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let groups = groups(user.as_ref(), gid);
        let member = |name: &str| group(name).is_some_and(|group| groups.contains(&group));
        let act = member(&self.operators);
        let name = user.map_or_else(|| format!("uid {uid}"), |user| user.name);
        Person {
            name: printable::line(&name, 64),
            look: act || member(&self.readers),
            act,
        }
    }

    /// Why somebody may not look; fits behind "failed to".
    #[must_use]
    pub fn no_look(&self, name: &str) -> String {
        sentence("look at the agent", name, &self.readers)
    }

    /// Why somebody may not act; fits behind "failed to".
    #[must_use]
    pub fn no_act(&self, name: &str) -> String {
        sentence("act on jobs", name, &self.operators)
    }
}

fn sentence(what: &str, name: &str, group: &str) -> String {
    let group = printable::line(group, 64);
    format!("{what}: {name} is not in the group {group}; join it or use `sudo`")
}

/// The id of a group, if there is such a group.
#[must_use]
pub fn group(name: &str) -> Option<Gid> {
    let found = Group::from_name(name).ok().flatten();
    found.map(|group| group.gid)
}

/// The group of the process itself, and those that its user belongs to.
fn groups(user: Option<&User>, gid: u32) -> Vec<Gid> {
    let mut groups = vec![Gid::from_raw(gid)];
    let named = user.and_then(|user| Some((CString::new(user.name.as_str()).ok()?, user.gid)));
    if let Some((name, primary)) = named {
        groups.extend(getgrouplist(&name, primary).unwrap_or_default());
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(readers: &str, operators: &str) -> Access {
        Access {
            readers: readers.to_owned(),
            operators: operators.to_owned(),
        }
    }

    const NOBODY: u32 = 65534;

    #[test]
    fn root_may_all_and_strangers_nothing() {
        let access = access("daemon", "no-such-group");
        assert!(access.person(0, 0).act);
        let stranger = access.person(NOBODY, NOBODY);
        assert!(!stranger.look && !stranger.act, "{stranger:?}");
        let nameless = access.person(4_000_000, NOBODY);
        assert_eq!(nameless.name, "uid 4000000");
        assert!(!nameless.look);
    }

    #[test]
    fn readers_look_and_operators_look_and_act() {
        let access = access("daemon", "games");
        let daemon = group("daemon").unwrap().as_raw();
        let games = group("games").unwrap().as_raw();
        let reader = access.person(NOBODY, daemon);
        assert!(reader.look && !reader.act, "by the group of the process");
        let operator = access.person(NOBODY, games);
        assert!(operator.look && operator.act);
        let user = User::from_name("games").unwrap().unwrap().uid.as_raw();
        assert!(access.person(user, NOBODY).act, "by the user's own groups");
    }

    #[test]
    fn a_refusal_names_the_group() {
        let why = access("readers", "operators").no_act("nobody");
        assert_eq!(
            why,
            "act on jobs: nobody is not in the group operators; join it or use `sudo`"
        );
    }
}
