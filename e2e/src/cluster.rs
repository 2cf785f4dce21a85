//! A cluster of two nodes for a person: brought up, left up with a shell in its network, taken down.

use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use stage::cluster::{Cluster, image};
use stage::company::{self, Addresses, BUCKET};
use stage::helm::Helm;

/// Of a cluster that is not named otherwise.
const NAME: &str = "mine";

/// What `onceward-e2e` does with arguments that begin with `cluster` or `shell`. `say` prints a line.
///
/// # Errors
/// Not root, a program is missing, or the cluster does not start; what `say` says.
pub fn execute(arguments: &[String], say: impl Fn(String) -> Result<()>) -> Result<()> {
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (what, name) = match words.as_slice() {
        ["cluster", what @ ("up" | "down")] => (*what, NAME),
        ["cluster", what @ ("up" | "down" | "keep"), "--name", name] => (*what, *name),
        ["shell"] => ("shell", NAME),
        ["shell", "--name", name] => ("shell", *name),
        _ => bail!("it is `cluster up|down [--name N]` or `shell [--name N]`"),
    };
    let down = format!("onceward-e2e cluster down --name {name}");
    match what {
        "down" => Cluster::down(name),
        "keep" => company::keep(&Cluster::find(name)?),
        "up" => {
            let cluster = Cluster::up(name)?;
            let (namespace, kubeconfig) = (cluster.layout().namespace(), cluster.layout().kubeconfig());
            tell_company(&company_of(&cluster)?, &say)?;
            say(format!("up; enter it with: onceward-e2e shell --name {name}"))?;
            say(format!("or: nsenter --net=/run/netns/{namespace} env KUBECONFIG={} ...", kubeconfig.display()))?;
            say(format!("take it down with: {down}"))
        }
        _ => shell(name, &down, say),
    }
}

/// Held by this program, called otherwise.
fn company_of(cluster: &Cluster) -> Result<Addresses> {
    let mut keeper = Command::new(std::env::current_exe()?);
    company::of(cluster, keeper.args(["cluster", "keep", "--name", cluster.layout().name()]))
}

fn tell_company(addresses: &Addresses, say: &impl Fn(String) -> Result<()>) -> Result<()> {
    say("In its network, with these names in its shell:".to_owned())?;
    addresses.iter().try_for_each(|(name, address)| say(format!("  {name}={address}")))?;
    say(format!("The bucket is `{BUCKET}`; the Secret `{BUCKET}` in namespace default has its keys (id, secret)."))
}

fn shell(name: &str, down: &str, say: impl Fn(String) -> Result<()>) -> Result<()> {
    let cluster = Cluster::find(name).or_else(|_| Cluster::up(name))?;
    let company = company_of(&cluster)?;
    let tools = cluster.tools()?;
    // It may be there from the last time.
    let _ = symlink(Helm::new()?.program(), tools.join("helm"));
    let mut paths = vec![tools];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let (repository, tag) = image::ONCEWARD.rsplit_once(':').context("a tag")?;
    tell_company(&company, &say)?;
    say("kubectl and helm are on the path. This repository's image is on the nodes:".to_owned())?;
    say("  helm install onceward charts/onceward --namespace onceward-system --create-namespace \\".to_owned())?;
    say(format!("    --set image.repository={repository} --set image.tag={tag}"))?;
    say(format!("The cluster stays up when the shell ends; take it down with: {down}"))?;
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let mut command = cluster.command(shell);
    command.env("KUBECONFIG", cluster.layout().kubeconfig()).env("PATH", std::env::join_paths(paths)?).envs(company);
    // Its own end says nothing: it is that of the last command that somebody typed.
    command.status()?;
    Ok(())
}
