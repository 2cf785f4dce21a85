//! TLS, logins and rights: what works, and that what does not says how to mend it and nothing secret.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::broker::{Listener, PASSWORD, POWERLESS, USER};
use e2e::kafka::judge::Rule;
use e2e::kafka::{Options, Version, Writer};
use runtime::connectors::kafka::client::{Class, ClientCertificate, Mechanism, Sasl, Settings, Tls};
use runtime::connectors::kafka::outcome::{CommitAnswer, Outcome, classify};
use runtime::secrets::{SecretBytes, SecretString};

use super::stage::{BRIEF, LONG, Stage, client, commit, until};

fn sasl(mechanism: Mechanism, username: &str, password: &str) -> Sasl {
    Sasl { mechanism, username: SecretString::new(username), password: SecretString::new(password) }
}

fn settings(stage: &Stage, listener: Listener) -> Result<Settings> {
    let certificates = stage.broker.certificates()?;
    let is_secured = matches!(listener, Listener::Tls | Listener::SaslTls);
    let ca = std::fs::read(&certificates.authority)?;
    let tls = is_secured.then(|| Tls { ca: Some(SecretBytes::new(ca)), certificate: None });
    Ok(Settings { bootstrap_servers: vec![stage.broker.address_of(listener)?], tls, sasl: None })
}

fn own(stage: &Stage) -> Result<ClientCertificate> {
    let certificates = stage.broker.certificates()?;
    let read = |path| std::fs::read(path).map(SecretBytes::new);
    Ok(ClientCertificate {
        chain: read(&certificates.client_certificate)?,
        private_key: read(&certificates.client_key)?,
    })
}

#[test]
fn every_way_in_leads_to_the_same_cluster_and_errors_name_the_fix() -> Result<()> {
    let stage = Stage::new(Version::Newest, &Options { is_secured: true, ..Options::default() })?;
    everybody_gets_in(&stage)?;
    refusals_name_the_fix(&stage)?;
    librdkafka_gets_in(&stage)?;
    rights_are_waited_for(&stage)
}

fn everybody_gets_in(stage: &Stage) -> Result<()> {
    let here = stage.wait(stage.client.cluster_id())?;
    for listener in [Listener::SaslTls, Listener::SaslPlain] {
        for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
            let login = Settings { sasl: Some(sasl(mechanism, USER, PASSWORD)), ..settings(stage, listener)? };
            let client = client(&login)?;
            ensure!(stage.wait(client.cluster_id())? == here, "{listener:?} {mechanism:?}");
        }
    }
    let mut mutual = settings(stage, Listener::Tls)?;
    mutual.tls.as_mut().context("it has TLS")?.certificate = Some(own(stage)?);
    ensure!(stage.wait(client(&mutual)?.cluster_id())? == here);
    let features = stage.wait(client(&mutual)?.features())?;
    ensure!(features.get("transaction.version") == Some(&2), "{features:?}");
    Ok(())
}

/// The error of a first request under `settings`, which must be of this class and say this, and nothing secret.
fn refused(stage: &Stage, settings: &Settings, class: Class, words: &str) -> Result<()> {
    let error = match client(settings) {
        Ok(client) => anyhow::Error::from(stage.wait(client.cluster_id()).err().context("it must be refused")?),
        Err(error) => error,
    };
    let told = format!("{error:#} {error:?} {settings:?}");
    let kind = error.downcast_ref::<runtime::connectors::kafka::client::Error>().context("of the client")?;
    ensure!(kind.class() == class, "{told}");
    ensure!(told.contains(words), "`{words}` is not said: {told}");
    ensure!(!told.contains("canary") && !told.contains("BEGIN") && !told.contains(USER), "a secret is told: {told}");
    Ok(())
}

fn refusals_name_the_fix(stage: &Stage) -> Result<()> {
    let tls = || settings(stage, Listener::SaslTls);
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
        let wrong = Settings { sasl: Some(sasl(mechanism, USER, "canary-wrong")), ..tls()? };
        refused(stage, &wrong, Class::Denied, "check sasl.username and sasl.password")?;
        let nobody = Settings { sasl: Some(sasl(mechanism, "canary-nobody", PASSWORD)), ..tls()? };
        refused(stage, &nobody, Class::Denied, "check sasl.username and sasl.password")?;
    }
    let login = || sasl(Mechanism::ScramSha512, USER, PASSWORD);
    let mut foreign = Settings { sasl: Some(login()), ..tls()? };
    let authority = std::fs::read(&stage.broker.certificates()?.foreign_authority)?;
    foreign.tls.as_mut().context("it has TLS")?.ca = Some(SecretBytes::new(authority));
    refused(stage, &foreign, Class::Denied, "tls.ca must hold the authority")?;
    let mut system = Settings { sasl: Some(login()), ..tls()? };
    system.tls.as_mut().context("it has TLS")?.ca = None;
    let words = if rustls_finds_authorities() { "tls.ca must hold the authority" } else { "name yours in tls.ca" };
    let class = if rustls_finds_authorities() { Class::Denied } else { Class::Fatal };
    refused(stage, &system, class, words)?;
    refused(stage, &settings(stage, Listener::Tls)?, Class::Denied, "or demands one")?;
    let mut broken = tls()?;
    broken.tls.as_mut().context("it has TLS")?.ca = Some(SecretBytes::new(*b"canary"));
    refused(stage, &broken, Class::Fatal, "tls.ca holds no PEM certificate")?;
    let mut broken = settings(stage, Listener::Tls)?;
    let certificate = ClientCertificate { private_key: SecretBytes::new(*b"canary"), ..own(stage)? };
    broken.tls.as_mut().context("it has TLS")?.certificate = Some(certificate);
    refused(stage, &broken, Class::Fatal, "tls.privateKey holds no PEM private key")?;
    let mut crossed = tls()?;
    crossed.bootstrap_servers = vec![stage.broker.address()];
    refused(stage, &crossed, Class::Retry, "TLS handshake did not end")?;
    let mut crossed = settings(stage, Listener::Plain)?;
    crossed.sasl = Some(login());
    refused(stage, &crossed, Class::Denied, "leave out sasl")
}

/// Whether this machine has authorities of its own.
fn rustls_finds_authorities() -> bool {
    std::path::Path::new("/etc/ssl/certs/ca-certificates.crt").exists()
}

fn librdkafka_gets_in(stage: &Stage) -> Result<()> {
    stage.judge.create("secured", 1)?;
    let authority = stage.broker.certificates()?.authority.to_string_lossy().into_owned();
    for (mechanism, id) in [(Mechanism::ScramSha512, "secured-scram"), (Mechanism::Plain, "secured-plain")] {
        let config = [
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.location", authority.as_str()),
            ("sasl.mechanism", mechanism.name()),
            ("sasl.username", USER),
            ("sasl.password", PASSWORD),
        ];
        let address = stage.broker.address_of(Listener::SaslTls)?;
        let writer = Writer::start_with(&address, id, LONG, &config)?;
        writer.write(&[("secured", 0)], 3)?;
        let login = Settings { sasl: Some(sasl(mechanism, USER, PASSWORD)), ..settings(stage, Listener::SaslTls)? };
        let client = client(&login)?;
        let prepared = stage.wait(writer.prepare(&client))?;
        ensure!(stage.wait(classify(&client, &prepared, &BRIEF))? == Outcome::Open);
        ensure!(stage.wait(commit(&client, &prepared, &BRIEF))? == CommitAnswer::Committed);
        until(|| Ok(stage.wait(classify(&client, &prepared, &BRIEF))?), |outcome| *outcome == Outcome::Committed)?;
    }
    ensure!(stage.visible("secured")? == 6);
    Ok(())
}

/// A missing right is neither an outage nor an outcome: nothing is dropped, and it goes on once the right is there.
fn rights_are_waited_for(stage: &Stage) -> Result<()> {
    let prepared = stage.prepare("rights", "rights", 1, LONG)?;
    let login = Settings {
        sasl: Some(sasl(Mechanism::ScramSha256, POWERLESS, PASSWORD)),
        ..settings(stage, Listener::SaslTls)?
    };
    let powerless = client(&login)?;
    let principal = format!("User:{POWERLESS}");
    let rule =
        |resource, operation| Rule { principal: &principal, resource, pattern: "LITERAL", name: "rights", operation };
    let error = stage.wait(commit(&powerless, &prepared, &BRIEF)).err().context("no right to ask for it")?;
    ensure!(error.class() == Class::Denied, "{error}");
    stage.judge.allow(&rule("TRANSACTIONAL_ID", "DESCRIBE"))?;
    let answer = until(
        || Ok(stage.wait(commit(&powerless, &prepared, &BRIEF))),
        |answer| answer.as_ref().is_ok_and(|answer| matches!(answer, CommitAnswer::Denied(_))),
    )?;
    ensure!(answer? == CommitAnswer::Denied(runtime::connectors::kafka::client::Code(53)));
    let error = stage.wait(classify(&powerless, &prepared, &BRIEF)).err().context("no right to read")?;
    ensure!(error.class() == Class::Denied, "{error}");
    stage.judge.allow(&rule("TRANSACTIONAL_ID", "WRITE"))?;
    stage.judge.allow(&rule("TOPIC", "READ"))?;
    until(
        || Ok(stage.wait(commit(&powerless, &prepared, &BRIEF))),
        |answer| matches!(answer, Ok(CommitAnswer::Committed)),
    )??;
    until(
        || Ok(stage.wait(classify(&powerless, &prepared, &BRIEF))),
        |outcome| matches!(outcome, Ok(Outcome::Committed)),
    )??;
    stage.judge.withdraw(&rule("TOPIC", "READ"))?;
    let looked = until(
        || Ok(stage.wait(classify(&powerless, &prepared, &BRIEF))),
        |outcome| outcome.as_ref().is_err_and(|error| error.class() == Class::Denied),
    )?;
    ensure!(looked.is_err());
    Ok(())
}
