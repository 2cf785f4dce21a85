//! Made-up sources judged by recomputing every row from `(seed, row)`, by the rules in `docs/types.md` and with no code of
//! the engine: two sources that end at different times, three sinks, one of them behind a union.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use onceward::checker::output::visible_files;
use onceward::checker::time;
use onceward::workload::Dice;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use crate::site::Site;

const MILLI: i64 = 1_000;
const SECOND: i64 = 1_000 * MILLI;
/// 2026-01-01T00:00:00Z.
const BEGIN: i64 = 1_767_225_600 * SECOND;
const COUNTRIES: [&str; 3] = ["DE", "FR", "SE"];
const CUSTOMERS: u64 = 150;
const LEAST: i64 = -500;
const MOST: i64 = 9_900;
const SIZE: i64 = 10 * SECOND;
const GAP: i64 = SECOND;

/// One generator source.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub seed: u64,
    pub rows: u64,
    /// Milliseconds of event time between two rows.
    pub step_ms: i64,
    pub rows_per_second: Option<u64>,
}

/// The pipeline: `web` is copied row by row, summed together with `shop` by windows, and `shop` alone by sessions.
#[derive(Clone, Copy, Debug)]
pub struct Generated {
    pub web: Source,
    pub shop: Source,
    pub parallelism: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: u64,
    #[serde(deserialize_with = "instant")]
    ts: i64,
    customer: u64,
    cents: i64,
    country: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowRow {
    #[serde(deserialize_with = "instant")]
    window_start: i64,
    #[serde(deserialize_with = "instant")]
    window_end: i64,
    country: String,
    total: i64,
    orders: u64,
    smallest: i64,
    largest: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
struct VisitRow {
    #[serde(deserialize_with = "instant")]
    window_start: i64,
    #[serde(deserialize_with = "instant")]
    window_end: i64,
    customer: u64,
    total: i64,
    orders: u64,
}

impl Generated {
    /// Sources of different length and pace.
    pub fn draw(dice: &mut Dice) -> Self {
        // A manifest's numbers are at most 2^53.
        let mut source = |rows, step_ms, rows_per_second| Source {
            seed: dice.roll() >> 12,
            rows: rows + dice.below(rows),
            step_ms,
            rows_per_second,
        };
        let (web, shop) = (source(25_000, 7, Some(25_000)), source(60_000, 11, None));
        Self { web, shop, parallelism: 1 + dice.below(4) }
    }

    /// Writes the manifest into a fresh folder.
    ///
    /// # Errors
    /// What the file system says.
    pub fn site(&self) -> Result<Site> {
        let mut site = Site::new()?;
        std::fs::write(&site.manifest, self.manifest())?;
        site.sinks = ["copy", "totals", "visits"].map(|sink| site.folder().join("out").join(sink)).to_vec();
        Ok(site)
    }

    fn manifest(&self) -> String {
        let Self { web, shop, parallelism } = self;
        format!(
            r"apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {{name: generated}}
spec:
  parallelism: {parallelism}
  sources:
{}{}  transforms:
  - name: sales
    sql: SELECT ts, country, cents FROM web UNION ALL SELECT ts, country, cents FROM shop
  - name: per_country
    sql: |
      SELECT window_start, window_end, country,
             SUM(cents) AS total, COUNT(*) AS orders, MIN(cents) AS smallest, MAX(cents) AS largest
      FROM TUMBLE(sales, ts, INTERVAL '10 seconds')
      GROUP BY window_start, window_end, country
  - name: per_visit
    sql: |
      SELECT window_start, window_end, customer, SUM(cents) AS total, COUNT(*) AS orders
      FROM SESSION(shop, ts, INTERVAL '1 second')
      GROUP BY window_start, window_end, customer
  sinks:
  - {{name: copy, input: web, files: {{path: out/copy}}}}
  - {{name: totals, input: per_country, files: {{path: out/totals}}}}
  - {{name: visits, input: per_visit, files: {{path: out/visits}}}}
  checkpoint:
    interval: 100ms
    storage: {{local: {{path: state}}}}
",
            web.manifest("web"),
            shop.manifest("shop"),
        )
    }

    /// Compares all three sinks with what they must hold.
    ///
    /// # Errors
    /// The first rows that are missing, doubled or wrong.
    pub fn assert_exact(&self, site: &Site) -> Result<()> {
        let [copy, totals, visits] = site.sinks.as_slice() else { anyhow::bail!("three sinks") };
        same("copy", self.web.all().collect(), rows(copy)?)?;
        same("totals", self.totals(), rows(totals)?)?;
        same("visits", self.visits(), rows(visits)?)
    }

    fn totals(&self) -> Vec<WindowRow> {
        let mut windows: BTreeMap<(i64, String), Vec<i64>> = BTreeMap::new();
        for source in [&self.web, &self.shop] {
            for row in 0..source.rows {
                let start = source.instant(row).div_euclid(SIZE) * SIZE;
                windows.entry((start, source.country(row))).or_default().push(source.cents(row));
            }
        }
        let total = |((start, country), cents): ((i64, String), Vec<i64>)| WindowRow {
            window_start: start,
            window_end: start + SIZE,
            country,
            total: cents.iter().sum(),
            orders: cents.len() as u64,
            smallest: cents.iter().copied().min().unwrap_or_default(),
            largest: cents.iter().copied().max().unwrap_or_default(),
        };
        windows.into_iter().map(total).collect()
    }

    fn visits(&self) -> Vec<VisitRow> {
        // Rows come in the order of their time. Of each customer: first and last instant, total and count.
        let mut open: BTreeMap<u64, (i64, i64, i64, u64)> = BTreeMap::new();
        let mut visits = vec![];
        let close = |customer, (first, last, total, orders): (i64, i64, i64, u64)| VisitRow {
            window_start: first,
            window_end: last + GAP,
            customer,
            total,
            orders,
        };
        for row in 0..self.shop.rows {
            let (ts, customer, cents) = (self.shop.instant(row), self.shop.customer(row), self.shop.cents(row));
            match open.get_mut(&customer) {
                Some((_, last, total, orders)) if ts - *last < GAP => {
                    (*last, *total, *orders) = (ts, *total + cents, *orders + 1);
                }
                _ => {
                    let before = open.insert(customer, (ts, ts, cents, 1));
                    visits.extend(before.map(|before| close(customer, before)));
                }
            }
        }
        visits.extend(open.into_iter().map(|(customer, visit)| close(customer, visit)));
        visits
    }
}

impl Source {
    fn manifest(&self, name: &str) -> String {
        let Self { seed, rows, step_ms, rows_per_second } = self;
        let pace = rows_per_second.map_or_else(String::new, |rate| format!(", rowsPerSecond: {rate}"));
        let (begin, last) = (time::format(BEGIN), CUSTOMERS - 1);
        let countries = COUNTRIES.join(", ");
        format!(
            r#"  - name: {name}
    generator: {{rows: {rows}, seed: {seed}{pace}}}
    columns:
    - {{name: id, type: BIGINT, generate: {{sequence: {{start: 0}}}}}}
    - {{name: ts, type: TIMESTAMP, generate: {{sequence: {{start: "{begin}", step: {step_ms}ms}}}}}}
    - {{name: customer, type: BIGINT, generate: {{random: {{min: 0, max: {last}}}}}}}
    - {{name: cents, type: BIGINT, generate: {{random: {{min: {LEAST}, max: {MOST}}}}}}}
    - {{name: country, type: VARCHAR, generate: {{choice: [{countries}]}}}}
    eventTime: {{column: ts}}
"#
        )
    }

    fn all(&self) -> impl Iterator<Item = Row> {
        (0..self.rows).map(|row| Row {
            id: row,
            ts: self.instant(row),
            customer: self.customer(row),
            cents: self.cents(row),
            country: self.country(row),
        })
    }

    fn instant(&self, row: u64) -> i64 {
        BEGIN + row as i64 * self.step_ms * MILLI
    }

    fn customer(&self, row: u64) -> u64 {
        drawn(self.seed, "customer", row, CUSTOMERS)
    }

    fn cents(&self, row: u64) -> i64 {
        LEAST + drawn(self.seed, "cents", row, (MOST - LEAST) as u64 + 1) as i64
    }

    fn country(&self, row: u64) -> String {
        COUNTRIES[drawn(self.seed, "country", row, COUNTRIES.len() as u64) as usize].to_owned()
    }
}

/// A number below `width`: the rule of `docs/types.md`.
fn drawn(seed: u64, column: &str, row: u64, width: u64) -> u64 {
    let mut name = 0xcbf2_9ce4_8422_2325_u64;
    for byte in column.as_bytes() {
        name = (name ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let stream = mixed(seed ^ name);
    let random = mixed(stream.wrapping_add(row.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    ((u128::from(random) * u128::from(width)) >> 64) as u64
}

/// The last three lines of `SplitMix64`.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn instant<'a, D: Deserializer<'a>>(from: D) -> Result<i64, D::Error> {
    let text = String::deserialize(from)?;
    time::parse(&text).ok_or_else(|| D::Error::custom("not a timestamp"))
}

fn rows<T: DeserializeOwned>(folder: &Path) -> Result<Vec<T>> {
    let mut found = vec![];
    for path in visible_files(folder)? {
        for line in std::fs::read_to_string(&path)?.lines() {
            found.push(serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()))?);
        }
    }
    Ok(found)
}

fn same<T: Ord + Debug>(sink: &str, mut expected: Vec<T>, mut found: Vec<T>) -> Result<()> {
    expected.sort();
    found.sort();
    ensure!(!expected.is_empty(), "{sink}: nothing is expected, so nothing is shown");
    let first = expected.iter().zip(&found).find(|(expected, found)| expected != found);
    ensure!(
        first.is_none() && expected.len() == found.len(),
        "{sink}: {} rows expected, {} found; first difference (expected, found): {first:?}",
        expected.len(),
        found.len()
    );
    Ok(())
}
