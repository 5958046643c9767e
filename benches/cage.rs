//! What the cage costs per start, against the same program without it. A benchmark, not a test: it prints.
//!
//! Needs root, bubblewrap and setpriv.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use dfagent::cage::cgroup::Weights;
use dfagent::cage::task::Task;
use dfagent::cage::{Cage, Limits};

const STARTS: u32 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<(), Box<dyn Error>> {
    let limits = Limits {
        memory_bytes: 1 << 30,
        processes: 512,
        file_bytes: 1 << 30,
    };
    let cage = Cage::find(
        "dfagent-cage",
        limits,
        Weights { cpu: 100, io: 100 },
        Path::new(env!("CARGO_BIN_EXE_dfagent")),
    )?;
    let folder = tempfile::tempdir()?;
    let (mut caged, mut bare) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..STARTS {
        let started = Instant::now();
        tokio::process::Command::new("/usr/bin/true")
            .status()
            .await?;
        bare += started.elapsed();
        let task = Task {
            name: "bench",
            program: vec!["/usr/bin/true".to_owned()],
            evidence: None,
            read_only: Vec::new(),
            limit: Duration::from_secs(60),
        };
        let started = Instant::now();
        task.run(&cage, &folder.path().join("attempt"), &[]).await?;
        caged += started.elapsed();
    }
    let each = |total: Duration| total.as_secs_f64() * 1000.0 / f64::from(STARTS);
    println!(
        "cage: {:.1} ms a start, {:.1} ms without it ({STARTS} starts of /usr/bin/true)",
        each(caged),
        each(bare)
    );
    Ok(())
}
