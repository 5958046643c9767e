//! Whether EC2 answers: the questions that delivery asks, asked once by whoever calls. Nothing needs an answer, so what is
//! missing keeps nobody from work.

use super::{Line, State, bad, ok};
use crate::config::Settings;
use crate::config::ec2::Ec2Settings;
use crate::ec2::cloud::Instance;
use crate::ec2::metadata::Client;
use crate::ec2::volumes::Volumes;
use crate::printable::causes;

/// A line for the instance and one for the tags of volumes; none on a machine that is not EC2's.
pub(super) async fn lines(settings: &Settings) -> Vec<Line> {
    let settings = &settings.ec2;
    if !settings.is_used() {
        return Vec::new();
    }
    let asked = async {
        let mut client = Client::new(settings)?;
        let instance = client.instance().await?;
        Ok::<_, crate::ec2::metadata::MetadataError>((client, instance))
    };
    match asked.await {
        Ok((mut client, instance)) => {
            let (id, zone, account) = (&instance.id, &instance.zone, &instance.account);
            let found = format!("{id} in {zone} of account {account}");
            vec![
                ok("ec2", found),
                tags(&mut client, settings, &instance).await,
            ]
        }
        Err(error) => vec![bad(
            "ec2",
            State::Warning,
            format!("failed to {}", causes(&error)),
            "jobs run without it; no case and sketch come from tags, and no interruption is noticed",
        )],
    }
}

async fn tags(client: &mut Client, settings: &Ec2Settings, instance: &Instance) -> Line {
    let without = |error: &(dyn std::error::Error + 'static)| {
        bad(
            "ec2 tags",
            State::Warning,
            format!("failed to {}", causes(error)),
            "volumes have no tags until then",
        )
    };
    let role = match client.role().await {
        Ok(Some(role)) => role,
        Ok(None) => {
            let found = "this instance has no role, so tags of volumes are not read";
            return ok("ec2 tags", found);
        }
        Err(error) => return without(&error),
    };
    let ec2 = match Volumes::new(settings, &instance.region) {
        Ok(ec2) => ec2,
        Err(error) => return without(&error),
    };
    match ec2.try_out(&role).await {
        Ok(()) => ok("ec2 tags", "the role may ask about volumes"),
        Err(error) => without(&error),
    }
}
