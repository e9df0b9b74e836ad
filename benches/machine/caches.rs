//! The sizes of the caches, and which of them an array lies in.

use mamba_kernels::Cpu;

/// Where an array lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Level {
    L1,
    L2,
    L3,
    Memory,
}

impl Level {
    pub const ALL: [Level; 4] = [Level::L1, Level::L2, Level::L3, Level::Memory];

    pub fn name(self) -> &'static str {
        match self {
            Level::L1 => "L1",
            Level::L2 => "L2",
            Level::L3 => "L3",
            Level::Memory => "memory",
        }
    }
}

/// Bytes per core of the L1 and L2 caches, and bytes of the L3 cache.
pub struct Levels([usize; 3]);

impl Levels {
    /// As the crate finds them; an L3 cache of a common size if it finds none.
    pub fn detect() -> Self {
        let caches = Cpu::new().caches();
        Self([caches.l1, caches.l2, if caches.l3 == 0 { 32 << 20 } else { caches.l3 }])
    }

    /// The smallest level that holds `bytes`, of which each thread touches its part.
    pub fn of(&self, bytes: f64, threads: usize) -> Level {
        let [l1, l2, l3] = self.0;
        let part = bytes / threads as f64;
        if part <= l1 as f64 {
            Level::L1
        } else if part <= l2 as f64 {
            Level::L2
        } else if bytes <= l3 as f64 {
            Level::L3
        } else {
            Level::Memory
        }
    }

    /// Bytes per thread that lie at a level of caches and in none above, half of the level; nothing for memory.
    pub fn bytes(&self, level: Level, threads: usize) -> Option<usize> {
        let [l1, l2, l3] = self.0;
        match level {
            Level::L1 => Some(l1 / 2),
            Level::L2 => Some(l2 / 2),
            Level::L3 => Some(l3 / 2 / threads),
            Level::Memory => None,
        }
    }
}
