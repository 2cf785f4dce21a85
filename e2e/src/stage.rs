//! Made-up orders in files, summed by windows: a pipeline that the independent checker can judge.

use std::ops::Deref;

use anyhow::{Result, ensure};
use onceward::checker::expected::Expected;
use onceward::workload::{Workload, Written};

use crate::s3::Bucket;
pub use crate::site::{SLOW, Site, binary};

/// A [`Site`] with a workload in it.
pub struct Stage {
    site: Site,
    pub workload: Workload,
    pub written: Written,
}

impl Deref for Stage {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Stage {
    /// Writes the workload into a fresh folder.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(workload: Workload) -> Result<Self> {
        let mut site = Site::new()?;
        let written = workload.write(site.folder())?;
        site.manifest.clone_from(&written.manifest);
        site.state.clone_from(&written.state);
        site.sinks = vec![written.windows.clone(), written.copy.clone()];
        Ok(Self { site, workload, written })
    }

    /// Keeps its checkpoints in a bucket of a server that keeps objects as files: the log is read there as anywhere.
    ///
    /// # Errors
    /// What the file system says.
    pub fn in_bucket(workload: Workload, bucket: &Bucket) -> Result<Self> {
        let mut stage = Self::new(workload)?;
        stage.edit_manifest("local: {path: state}", &bucket.storage())?;
        bucket.write_secrets(stage.folder())?;
        stage.site.state = bucket.objects();
        Ok(stage)
    }

    /// The independent checker finds nothing missing, doubled or wrong.
    ///
    /// # Errors
    /// It does; with the first differing rows.
    pub fn assert_exact(&self) -> Result<Expected> {
        let (expected, verdict) = self.written.judge()?;
        ensure!(verdict.is_good(), "{verdict}:\n{}", verdict.examples.join("\n"));
        ensure!(
            expected.records == self.workload.records && expected.late > 0,
            "the workload is not what it should be"
        );
        Ok(expected)
    }

    /// As [`Self::assert_exact`], and nothing hidden is left over.
    ///
    /// # Errors
    /// As there, and any hidden file by its name.
    pub fn assert_exact_and_tidy(&self) -> Result<Expected> {
        self.assert_tidy()?;
        self.assert_exact()
    }
}
