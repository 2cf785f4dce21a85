//! Reading over TLS and with each kind of login.

use anyhow::{Context as _, Result, ensure};
use e2e::kafka::broker::{Listener, PASSWORD, USER};
use e2e::kafka::{Broker, Judge, Options, Version};

use crate::stage::{Cluster, Copy, Source};

const CA: &str = "ca: {secret: kafka, key: ca.crt}";
const CERTIFICATE: &str = "certificate: {secret: kafka, key: tls.crt}, privateKey: {secret: kafka, key: tls.key}";
const LOGIN: &str = "username: {secret: kafka, key: username}, password: {secret: kafka, key: password}";

#[test]
fn a_topic_is_read_through_every_way_in() -> Result<()> {
    let broker = Broker::start(Version::Newest, &Options { is_secured: true, ..Options::default() })?;
    let judge = Judge::start(&broker.address())?;
    let cluster = Cluster { broker, judge };
    cluster.judge.create("secured", 2)?;
    cluster.produce("secured", 0, 2_000)?;
    let ways = [
        (Listener::Tls, format!("tls: {{{CA}, {CERTIFICATE}}}")),
        (Listener::SaslTls, format!("tls: {{{CA}}}, sasl: {{mechanism: SCRAM-SHA-512, {LOGIN}}}")),
        (Listener::SaslTls, format!("tls: {{{CA}}}, sasl: {{mechanism: SCRAM-SHA-256, {LOGIN}}}")),
        (Listener::SaslPlain, format!("sasl: {{mechanism: PLAIN, {LOGIN}}}")),
    ];
    for (listener, settings) in ways {
        let copy = Copy::new(&cluster, &Source { topics: &["secured"], more: "until: Latest", ..Source::default() })?;
        let plain = format!("bootstrapServers: [\"{}\"]", cluster.broker.address());
        let address = cluster.broker.address_of(listener)?;
        copy.edit_manifest(&plain, &format!("bootstrapServers: [\"{address}\"], {settings}"))?;
        let certificates = cluster.broker.certificates()?;
        let folder = copy.folder().join("secrets/kafka");
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(&certificates.authority, folder.join("ca.crt"))?;
        std::fs::copy(&certificates.client_certificate, folder.join("tls.crt"))?;
        std::fs::copy(&certificates.client_key, folder.join("tls.key"))?;
        std::fs::write(folder.join("username"), USER)?;
        std::fs::write(folder.join("password"), PASSWORD)?;
        copy.run_well().with_context(|| settings.clone())?;
        ensure!(copy.assert_exact(&cluster).with_context(|| settings.clone())?.len() == 2_000);
    }
    Ok(())
}
