//! Another volume behind the node by the time that a job opens it.

use std::path::Path;
use std::sync::Arc;

use dfagent::config::Settings;
use dfagent::device::scan;
use dfagent::engine::places::Places;
use dfagent::engine::{self, Engine, EngineError, JobRequest, Talk, job};
use libtest_mimic::Failed;
use tokio::sync::watch;

use super::lab::{self, Need};
use super::{Loop, settle};

pub fn needs(needs: &[Need]) -> Vec<Need> {
    [needs, &[Need::Plaso]].concat()
}

pub fn replaced() -> Result<(), Failed> {
    let disk = Loop::attached();
    settle();
    let meant = disk.found(&scan()?).and_then(|device| device.sequence);
    assert!(meant.is_some(), "the kernel numbers attachments");
    disk.detach();
    disk.attach();

    let work = tempfile::tempdir()?;
    let mut settings = Settings::default();
    settings.plaso.environment = lab::plaso();
    let request = JobRequest {
        source: disk.node(),
        sequence: meant,
        output: work.path().to_path_buf(),
        name: Some("one".to_owned()),
        mountpoint: None,
        case: None,
        priority: 0,
        selection: engine::select(&settings, None, &[])?,
        keep_begun_selection: true,
        outbox: None,
        cloud: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (_stop, stop) = watch::channel(false);
    let listener = Arc::new(drop);
    let ended = runtime.block_on(async {
        let program = Path::new(env!("CARGO_BIN_EXE_dfagent"));
        let engine = Engine::set_up(settings, Places::new(1), program).await?;
        Ok::<_, Failed>(job::run(Arc::new(engine), &request, Talk { listener, stop }).await)
    })?;
    assert!(matches!(ended, Err(EngineError::Gone)), "{ended:?}");
    assert!(!work.path().join("one").exists(), "nothing is begun");
    Ok(())
}
