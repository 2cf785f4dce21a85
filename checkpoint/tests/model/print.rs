//! Fingerprints: worlds are told apart by 64 bits, and what two worlds share is hashed once.

use std::hash::{Hash, Hasher};
use std::ops::{Deref, Index, IndexMut};
use std::sync::Arc;

use crate::world::Process;

/// Mixes word by word, each step a bijection: values that differ stay different unless two differences meet.
struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        self.mix(bytes.len() as u64);
    }
    fn write_u8(&mut self, word: u8) {
        self.mix(u64::from(word));
    }
    fn write_u32(&mut self, word: u32) {
        self.mix(u64::from(word));
    }
    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }
    fn write_u128(&mut self, word: u128) {
        self.mix(word as u64);
        self.mix((word >> 64) as u64);
    }
    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
    }
}

/// Never 0.
pub(crate) fn fingerprint<T: Hash>(value: &T) -> u64 {
    let mut mixer = Mixer(0x5851_f42d_4c95_7f2d);
    value.hash(&mut mixer);
    mixer.finish().max(1)
}

/// Cloned by reference; hashed and compared by the fingerprint made at its birth.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    value: Arc<T>,
    print: u64,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), print: self.print }
    }
}

impl<T: Hash> Shared<T> {
    pub(crate) fn of(value: Arc<T>) -> Self {
        let print = fingerprint(&value);
        Self { value, print }
    }
}

impl<T> Shared<T> {
    pub(crate) fn value(&self) -> Arc<T> {
        self.value.clone()
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl<T> Eq for Shared<T> {}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.print);
    }
}

/// The processes of a world; a step touches one or two of them. To be tidied before the world is hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Processes(Vec<Shared<Process>>);

impl Processes {
    pub(crate) fn push(&mut self, process: Process) {
        self.0.push(Shared { value: Arc::new(process), print: 0 });
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.0.iter().map(Deref::deref)
    }

    /// Brings what was touched into its one form, and makes its fingerprint.
    pub(crate) fn tidy(&mut self) {
        for shared in self.0.iter_mut().filter(|shared| shared.print == 0) {
            Arc::make_mut(&mut shared.value).effects.sort();
            shared.print = fingerprint(&shared.value);
        }
    }
}

impl Index<usize> for Processes {
    type Output = Process;
    fn index(&self, at: usize) -> &Process {
        &self.0[at]
    }
}

impl IndexMut<usize> for Processes {
    fn index_mut(&mut self, at: usize) -> &mut Process {
        self.0[at].print = 0;
        Arc::make_mut(&mut self.0[at].value)
    }
}
