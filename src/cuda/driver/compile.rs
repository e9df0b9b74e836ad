//! The images of the kernels: compiled for exactly the device in use, by NVRTC or nvcc, once per process, and cached in a
//! file; or prebuilt; or the PTX in the crate.

use super::nvrtc::Nvrtc;
use super::sources::{FINGERPRINT, MAIN, SOURCES};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The environment variable that names the only origin to use.
const COMPILER: &str = "MAMBA_KERNELS_CUDA_COMPILER";

/// The environment variable that names a file with a prebuilt image, which is then the only one used.
const CUBIN: &str = "MAMBA_KERNELS_CUBIN";

/// The images in the crate, each for all devices from a compute capability on, the latest first.
const EMBEDDED: [((i32, i32), &str); 2] = [
    ((8, 0), include_str!("../../../cuda/ptx/mamba_kernels.compute_80.ptx")),
    ((7, 5), include_str!("../../../cuda/ptx/mamba_kernels.compute_75.ptx")),
];

/// Options of both compilers: IEEE-754 arithmetic exactly as the sources write it.
const OPTIONS: [&str; 5] =
    ["--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true"];

/// Where an image of the kernels comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    Nvrtc,
    Nvcc,
    /// The PTX in the crate, which the driver compiles.
    Embedded,
    /// A file with machine code.
    Cubin(PathBuf),
}

/// In the order in which they are tried.
const ORIGINS: [Origin; 3] = [Origin::Nvrtc, Origin::Nvcc, Origin::Embedded];

/// An image of the kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    /// PTX or machine code, with a NUL at the end.
    pub bytes: Arc<[u8]>,
    /// Its origin in words.
    pub description: Arc<str>,
}

/// Images by origin and compute capability.
type Images = BTreeMap<(Origin, (i32, i32)), Image>;

impl Image {
    fn new(mut bytes: Vec<u8>, description: String) -> Self {
        bytes.push(0); // PTX ends with a NUL; machine code holds its length
        Self { bytes: bytes.into(), description: description.into() }
    }
}

/// The origins to try, in this order: NVRTC, then nvcc, each compiling for exactly this device or taking what an earlier
/// run has cached; then the PTX in the crate. `MAMBA_KERNELS_CUBIN` or `MAMBA_KERNELS_CUDA_COMPILER` leave one.
pub(super) fn origins() -> Result<Vec<Origin>, String> {
    chosen(std::env::var_os(CUBIN).map(PathBuf::from), std::env::var(COMPILER).ok())
}

fn chosen(cubin: Option<PathBuf>, compiler: Option<String>) -> Result<Vec<Origin>, String> {
    // an empty variable is as if it were not set
    let cubin = cubin.filter(|file| !file.as_os_str().is_empty());
    match (cubin, compiler.filter(|name| !name.is_empty())) {
        (Some(file), _) => Ok(vec![Origin::Cubin(file)]),
        (None, None) => Ok(ORIGINS.into()),
        (None, Some(wanted)) => match ORIGINS.into_iter().find(|origin| origin.name() == wanted) {
            Some(origin) => Ok(vec![origin]),
            None => {
                let names = ORIGINS.map(|origin| origin.name());
                Err(format!("{COMPILER} must be one of {}, and it is `{wanted}`", names.join(", ")))
            }
        },
    }
}

impl Origin {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Nvrtc => "nvrtc",
            Self::Nvcc => "nvcc",
            Self::Embedded => "embedded",
            Self::Cubin(_) => CUBIN,
        }
    }

    /// The image for a compute capability: made once per process, however many threads ask for it at a time.
    pub(super) fn image(&self, capability: (i32, i32)) -> Result<Image, String> {
        static MADE: Mutex<Images> = Mutex::new(Images::new());
        // complete after a panic: an image is inserted when it is whole. The lock is held while a compiler runs.
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (self.clone(), capability);
        if let Some(image) = made.get(&key) {
            return Ok(image.clone());
        }
        let image = match self {
            Self::Nvrtc | Self::Nvcc => self.compiled(capability)?,
            Self::Embedded => embedded(capability)?,
            Self::Cubin(file) => {
                let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
                expect_fingerprint(&bytes).map_err(|reason| format!("{}: {reason}", file.display()))?;
                Image::new(bytes, format!("from the file {}", file.display()))
            }
        };
        made.insert(key, image.clone());
        Ok(image)
    }

    /// Machine code, from the cache or compiled now.
    fn compiled(&self, (major, minor): (i32, i32)) -> Result<Image, String> {
        let nvrtc = if *self == Self::Nvrtc { Some(Nvrtc::load()?) } else { None };
        let version = nvrtc.as_ref().map_or_else(nvcc_version, |nvrtc| Ok(nvrtc.version()))?;
        let architecture = format!("sm_{major}{minor}");
        let origin = format!("for {architecture} by {} {version}", self.name());
        let mut hasher = DefaultHasher::new();
        (SOURCES, OPTIONS, &origin).hash(&mut hasher);
        let file = cache_dir().map(|dir| dir.join(format!("{:016x}-{architecture}.cubin", hasher.finish())));
        if let Some(image) = file.as_ref().and_then(|file| std::fs::read(file).ok()) {
            return Ok(Image::new(image, format!("compiled {origin}, kept from an earlier run")));
        }
        let image = match nvrtc {
            Some(nvrtc) => {
                let options = OPTIONS.map(String::from).into_iter();
                let options: Vec<_> = options.chain([format!("--gpu-architecture={architecture}")]).collect();
                nvrtc.compile(&options)?
            }
            None => compile_with_nvcc(&architecture)?,
        };
        if let Some(file) = file {
            // without a cache the next run compiles again, and that is all
            let _ = keep(&file, &image);
        }
        Ok(Image::new(image, format!("compiled {origin}")))
    }
}

/// Whether prebuilt machine code was made from the sources of this crate: code of others takes other arguments.
/// `scripts/cuda-kernels.sh --cubin` puts the fingerprint of the sources into it, as a variable.
fn expect_fingerprint(image: &[u8]) -> Result<(), String> {
    let fingerprint = FINGERPRINT.to_le_bytes();
    match image.windows(fingerprint.len()).any(|bytes| bytes == fingerprint) {
        true => Ok(()),
        false => Err("it does not have the fingerprint of this crate's kernels".into()),
    }
}

/// The image in the crate for a device.
fn embedded(capability: (i32, i32)) -> Result<Image, String> {
    let ((major, minor), text) = EMBEDDED
        .into_iter()
        .find(|(oldest, _)| *oldest <= capability)
        .ok_or_else(|| "none for this device".to_string())?;
    Ok(Image::new(text.into(), format!("from PTX for compute capability {major}.{minor}")))
}

/// The folder for compiled kernels, if the environment names a cache folder for the user.
fn cache_dir() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else {
        variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))
    };
    Some(base?.join("mamba-kernels"))
}

/// Writes a file under another name and renames it, so no other process ever reads an incomplete file.
fn keep(file: &Path, image: &[u8]) -> std::io::Result<()> {
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let part = file.with_extension(format!("{}.part", unique()));
    std::fs::write(&part, image)?;
    std::fs::rename(&part, file)
}

/// A suffix for file names that no other call gets, in this process or in another that runs now.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// nvcc in the folder that `CUDA_HOME` or `CUDA_PATH` names, else the one on the path, else that of the usual folder.
fn nvcc() -> PathBuf {
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let binary = format!("nvcc{}", std::env::consts::EXE_SUFFIX);
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let known = homes.map(|home| home.join("bin")).chain(std::env::split_paths(&in_path));
    let usual = PathBuf::from("/usr/local/cuda/bin"); // where a toolkit is that nobody put on the path
    let mut paths = known.chain([usual]).map(|folder| folder.join(&binary));
    paths.find(|path| path.exists()).unwrap_or(binary.clone().into())
}

fn nvcc_version() -> Result<String, String> {
    let output = Command::new(nvcc()).arg("--version").output();
    let output = output.map_err(|error| format!("nvcc cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split(&[' ', ',', '\n']).find(|word| word.starts_with('V'));
    version.map(|version| version[1..].to_string()).ok_or_else(|| "nvcc does not name its version".into())
}

fn compile_with_nvcc(architecture: &str) -> Result<Vec<u8>, String> {
    let dir = std::env::temp_dir().join(format!("mamba-kernels-{}", unique()));
    let image = compile_in(&dir, architecture);
    // what is left behind in a folder for temporary files does no harm
    let _ = std::fs::remove_dir_all(&dir);
    image
}

fn compile_in(dir: &Path, architecture: &str) -> Result<Vec<u8>, String> {
    let io = |error: std::io::Error| error.to_string();
    std::fs::create_dir(dir).map_err(io)?;
    for (name, source) in SOURCES {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(dir)).map_err(io)?;
        std::fs::write(path, source).map_err(io)?;
    }
    let target = dir.join("kernels.cubin");
    let output = Command::new(nvcc())
        .args(OPTIONS)
        .args(["--cubin", &format!("--gpu-architecture={architecture}"), "-o"])
        .arg(&target)
        .arg("-I") // files include each other by their path in `cuda/`
        .args([dir, &dir.join(MAIN)])
        .output()
        .map_err(io)?;
    match output.status.success() {
        true => std::fs::read(target).map_err(io),
        false => {
            let text = String::from_utf8_lossy(&output.stderr);
            Err(text.lines().find(|line| line.contains("error")).unwrap_or("nvcc failed").to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_image_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep").join("image.cubin");
        keep(&file, b"first").unwrap();
        keep(&file, b"second").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn every_device_has_an_embedded_image() {
        for (capability, target) in
            [((7, 5), "sm_75"), ((8, 6), "sm_80"), ((9, 0), "sm_80"), ((12, 1), "sm_80")]
        {
            let image = Origin::Embedded.image(capability).unwrap();
            let text = std::str::from_utf8(&image.bytes).unwrap();
            assert!(text.contains(&format!(".target {target}")) && text.ends_with('\0'), "{capability:?}");
        }
        assert!(Origin::Embedded.image((7, 0)).is_err());
    }

    #[test]
    fn one_origin_can_be_named() {
        let names = |cubin: Option<&str>, compiler: Option<&str>| {
            let origins = chosen(cubin.map(PathBuf::from), compiler.map(String::from));
            origins.map(|origins| origins.iter().map(Origin::name).collect::<Vec<_>>())
        };
        assert_eq!(names(None, None).unwrap(), ["nvrtc", "nvcc", "embedded"]);
        assert_eq!(names(None, Some("nvcc")).unwrap(), ["nvcc"]);
        assert_eq!(names(Some("a.cubin"), Some("nvcc")).unwrap(), ["MAMBA_KERNELS_CUBIN"]);
        assert_eq!(names(Some(""), Some("")), names(None, None));
        let refused = names(None, Some("gcc")).unwrap_err();
        assert_eq!(
            refused,
            "MAMBA_KERNELS_CUDA_COMPILER must be one of nvrtc, nvcc, embedded, and it is `gcc`"
        );
    }

    #[test]
    fn a_prebuilt_image_is_read_or_the_reason_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kernels.cubin");
        let reason = Origin::Cubin(file.clone()).image((9, 0)).unwrap_err();
        assert!(reason.contains("kernels.cubin"), "{reason}");
        let code = [&b"code"[..], &FINGERPRINT.to_le_bytes()].concat();
        std::fs::write(&file, &code[..code.len() - 1]).unwrap();
        let reason = Origin::Cubin(file.clone()).image((9, 0)).unwrap_err();
        assert!(reason.ends_with("does not have the fingerprint of this crate's kernels"), "{reason}");
        std::fs::write(&file, &code).unwrap();
        assert_eq!(*Origin::Cubin(file).image((9, 0)).unwrap().bytes, [&code[..], &[0]].concat());
    }

    /// The file that the environment names, made by the script, has the fingerprint that this crate computes.
    #[test]
    fn the_prebuilt_image_of_the_environment_is_of_these_sources() {
        match std::env::var_os(CUBIN) {
            Some(file) => drop(Origin::Cubin(file.into()).image((9, 0)).unwrap()),
            None => eprintln!("SKIPPED: {CUBIN} names no prebuilt image"),
        }
    }

    /// A compiler of this machine makes machine code that has every kernel. `MAMBA_KERNELS_REQUIRE` may demand it.
    fn compiles(origin: Origin) {
        let name = origin.name();
        let image = match origin.compiled((9, 0)) {
            Ok(image) => image,
            Err(reason) => {
                let required = std::env::var("MAMBA_KERNELS_REQUIRE").unwrap_or_default();
                assert!(required.split(',').all(|required| required.trim() != name), "{name}: {reason}");
                eprintln!("SKIPPED: {name} compiles the kernels: {reason}");
                return;
            }
        };
        assert!(image.bytes.starts_with(b"\x7fELF"), "{}", image.description);
        let text = String::from_utf8_lossy(&image.bytes);
        for kernel in crate::cuda::driver::kernels::KERNELS {
            assert!(text.contains(kernel), "{kernel} is not in the image {}", image.description);
        }
        eprintln!("RUN: an image {}", image.description);
    }

    #[test]
    fn nvrtc_compiles_the_kernels() {
        compiles(Origin::Nvrtc);
    }

    #[test]
    fn nvcc_compiles_the_kernels() {
        compiles(Origin::Nvcc);
    }
}
