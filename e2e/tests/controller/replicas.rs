//! Two controllers, of which one is active; what they serve; one that sleeps beyond its lease.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use api::pipeline::Phase;
use e2e::http::get;
use e2e::served::assert_documented;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::lives::{generated, manifest};
use crate::release::Replica;
use crate::site::Cluster;

const LEADS: &str = "onceward_leader 1";

/// The lease is held by this one.
async fn leads(cluster: &Cluster, name: &str) -> Result<()> {
    let what = format!("{name} leads");
    let held = async |cluster: &Cluster| {
        let holder = cluster.leader().await?.unwrap_or_default();
        Ok(holder.starts_with(&format!("{name}_")).then_some(()))
    };
    cluster.until(&what, held).await
}

fn text(replica: &Replica) -> Result<String> {
    Ok(get(replica.address, "/metrics")?.1)
}

async fn ready(cluster: &Cluster, replica: &Replica) -> Result<()> {
    let address = replica.address;
    let is_ready = async |_: &Cluster| {
        let answer = get(address, "/readyz").map(|(head, _)| head.starts_with("HTTP/1.1 200"));
        Ok(answer.unwrap_or(false).then_some(()))
    };
    cluster.until("it is ready", is_ready).await
}

/// One acts and both are ready; what the active one serves is what docs/metrics.md says, of the Pipelines that there are;
/// one that is killed is replaced when its lease has run out, one that is told to stop at once.
#[tokio::test]
async fn one_of_two_controllers_is_active_and_the_other_takes_over() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let first = cluster.controllers[0].name.clone();
    leads(&cluster, &first).await?;
    cluster.start_controller()?;
    let second = cluster.controllers[1].name.clone();
    for replica in &cluster.controllers {
        ready(&cluster, replica).await?;
    }
    let (_folder, manifest) = manifest(&generated(120), "watched")?;
    cluster.create(&manifest).await?;
    cluster.phase("watched", Phase::Running).await?;

    // What it wrote comes back to it by its watch.
    let running = "onceward_pipeline_status_phase{namespace=\"default\",pipeline=\"watched\",phase=\"Running\"} 1";
    let tells =
        async |cluster: &Cluster| Ok(Some(text(&cluster.controllers[0])?).filter(|text| text.contains(running)));
    let (active, standby) = (cluster.until("it tells that it runs", tells).await?, text(&cluster.controllers[1])?);
    ensure!(active.contains(LEADS) && standby.contains("onceward_leader 0"), "{standby}");
    assert_documented("Of the controller", &active, &[])?;
    ensure!(!standby.contains("watched"), "{standby}");

    cluster.kill_controller()?;
    cluster.kubelet.kill()?;
    leads(&cluster, &second).await?;
    let again =
        |status: &api::pipeline::PipelineStatus| status.restarts.total == 1 && status.phase == Some(Phase::Running);
    cluster.status("watched", "the other one has replaced the worker", again).await?;
    ensure!(text(&cluster.controllers[0])?.contains(LEADS));

    cluster.delete("watched").await?;
    cluster.gone("watched").await?;
    let forgets = async |cluster: &Cluster| Ok((!text(&cluster.controllers[0])?.contains("watched")).then_some(()));
    cluster.until("its series are gone", forgets).await?;

    let last = &mut cluster.controllers[0];
    kill_process(Pid::from_child(&last.process), Signal::TERM)?;
    let status = last.process.wait()?;
    ensure!(status.success(), "{status}");
    ensure!(cluster.leader().await?.context("a lease")?.is_empty(), "it has kept the lease");
    cluster.used()?;
    Ok(())
}

/// `SIGSTOP`; returns when it has stopped: until then its threads go on with what they have at hand.
fn pause(replica: &Replica) -> Result<()> {
    let pid = Pid::from_child(&replica.process);
    kill_process(pid, Signal::STOP)?;
    let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED)?.context("it is a child")?;
    ensure!(status.stopped(), "it ended instead");
    Ok(())
}

/// Tokens that controllers have shown so far.
fn credentials(cluster: &Cluster) -> Result<BTreeSet<String>> {
    Ok(cluster.asked()?.into_iter().map(|asked| asked.credential).collect())
}

/// It is stopped as its worker dies, so that it has much to do, and wakes when the other one has done it.
#[tokio::test]
async fn a_controller_that_was_stopped_beyond_its_lease_writes_nothing_more_when_it_wakes() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let first = cluster.controllers[0].name.clone();
    leads(&cluster, &first).await?;
    let known = credentials(&cluster)?;
    ensure!(known.len() == 1 && !known.contains(""), "{known:?}");
    cluster.renew_token().await?;
    cluster.start_controller()?;
    let second = cluster.controllers[1].name.clone();
    ready(&cluster, &cluster.controllers[1]).await?;
    let generated = generated(90);
    let (folder, manifest) = manifest(&generated, "stopped")?;
    cluster.create(&manifest).await?;
    let running = |status: &api::pipeline::PipelineStatus| {
        status.phase == Some(Phase::Running) && status.checkpoints.last_completed.is_some()
    };
    cluster.status("stopped", "it runs and has a checkpoint", running).await?;

    cluster.kubelet.kill()?;
    pause(&cluster.controllers[0])?;
    leads(&cluster, &second).await?;
    let again =
        |status: &api::pipeline::PipelineStatus| status.restarts.total == 1 && status.phase == Some(Phase::Running);
    cluster.status("stopped", "the other one has seen the worker replaced", again).await?;

    let asleep = cluster.asked()?.len();
    kill_process(Pid::from_child(&cluster.controllers[0].process), Signal::CONT)?;
    // By then everything that it was about to do is done.
    let is_awake = async |cluster: &Cluster| {
        let since = cluster.asked()?.into_iter().skip(asleep);
        let looks = since.filter(|asked| known.contains(&asked.credential) && asked.resource == "leases");
        Ok((looks.count() >= 3).then_some(()))
    };
    cluster.until("the first one is awake and looks at the lease", is_awake).await?;
    ensure!(text(&cluster.controllers[0])?.contains("onceward_leader 0"), "it believes to lead");
    cluster.phase("stopped", Phase::Finished).await?;
    generated.assert_exact(&folder)?;

    let asked = cluster.asked()?;
    let taken = asked.iter().filter(|asked| asked.is_write() && !known.contains(&asked.credential));
    let taken = taken.map(|asked| asked.received.clone()).min().context("the second one writes")?;
    let late = asked.iter().filter(|asked| asked.is_write() && known.contains(&asked.credential));
    let late: Vec<_> = late.filter(|asked| asked.received > taken).collect();
    // What it was about to send, and what it tells of what it had written. A lease of before is refused.
    let is_told = |resource: &str| matches!(resource, "events" | "leases");
    let begun: Vec<_> = late.iter().filter(|asked| !is_told(&asked.resource)).collect();
    ensure!(begun.len() <= 1, "it writes on: {begun:?}");
    let renewed = late.iter().any(|asked| asked.resource == "leases" && asked.status < 300);
    ensure!(!renewed, "it has taken the lease back: {late:?}");
    println!("{} requests of it came after the other one led: {late:?}", late.len());
    Ok(())
}
