//! Compiles the kernels for exactly the device in use, by NVRTC or nvcc, once: the result is cached in a file.

use super::probe::{NVRTC, is_present};
use super::sources::{MAIN, SOURCES};
use cudarc::nvrtc::{result, sys};
use std::ffi::{CString, c_char, c_int};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable that names the only compiler to use.
pub(super) const VARIABLE: &str = "MAMBA_KERNELS_CUDA_COMPILER";

/// Options of both compilers: IEEE-754 arithmetic exactly as the sources write it.
const OPTIONS: [&str; 5] =
    ["--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true"];

/// What makes an image of the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compiler {
    Nvrtc,
    Nvcc,
    /// None: the PTX in the crate.
    Embedded,
}

/// In the order in which they are tried.
pub(super) const COMPILERS: [Compiler; 3] = [Compiler::Nvrtc, Compiler::Nvcc, Compiler::Embedded];

/// An image and its origin in words, or why it could not be made.
type Image = Result<(Vec<u8>, String), String>;

impl Compiler {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nvrtc => "nvrtc",
            Self::Nvcc => "nvcc",
            Self::Embedded => "embedded",
        }
    }

    /// Machine code for a compute capability, from the cache or compiled now.
    pub(super) fn image(self, (major, minor): (i32, i32)) -> Image {
        let version = match self {
            Self::Nvrtc => nvrtc_version()?,
            Self::Nvcc => nvcc_version()?,
            Self::Embedded => return Err("it is no compiler".into()),
        };
        let architecture = format!("sm_{major}{minor}");
        let origin = format!("for {architecture} by {} {version}", self.name());
        let mut hasher = DefaultHasher::new();
        (SOURCES, OPTIONS, &origin).hash(&mut hasher);
        let file = cache_dir().map(|dir| dir.join(format!("{:016x}-{architecture}.cubin", hasher.finish())));
        if let Some(image) = file.as_ref().and_then(|file| std::fs::read(file).ok()) {
            return Ok((image, format!("compiled {origin}, kept from an earlier run")));
        }
        let image = match self {
            Self::Nvrtc => compile_with_nvrtc(&architecture)?,
            _ => compile_with_nvcc(&architecture)?,
        };
        if let Some(file) = file {
            // without a cache the next run compiles again, and that is all
            let _ = keep(&file, &image);
        }
        Ok((image, format!("compiled {origin}")))
    }
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

fn nvrtc_version() -> Result<String, String> {
    if !is_present(NVRTC) {
        return Err("the library is not found".into());
    }
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library can be loaded, every version of it has this function, and both pointers are to live integers.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) }.result().map_err(|error| error.to_string())?;
    // machine code comes from version 11.1 on, C++17 from 11.0 on
    match (major, minor) >= (11, 1) {
        true => Ok(format!("{major}.{minor}")),
        false => Err(format!("version {major}.{minor} is too old")),
    }
}

/// A program of NVRTC, which is destroyed when this is dropped.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program was made by `nvrtcCreateProgram` and is destroyed once.
        let destroyed = unsafe { result::destroy_program(self.0) };
        // what cannot be destroyed stays until the process ends
        let _ = destroyed;
    }
}

fn compile_with_nvrtc(architecture: &str) -> Result<Vec<u8>, String> {
    let text = |text: &str| CString::new(text).map_err(|error| error.to_string());
    let names: Vec<CString> = SOURCES.iter().map(|(name, _)| text(name)).collect::<Result<_, _>>()?;
    let contents: Vec<CString> = SOURCES.iter().map(|(_, source)| text(source)).collect::<Result<_, _>>()?;
    let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
    let (names, headers) = (pointers(&names[..]), pointers(&contents[..]));
    let main = text(&format!("#include \"{MAIN}\"\n"))?;
    let title = text("mamba_kernels.cu")?;
    let mut program = std::ptr::null_mut();
    // SAFETY: all texts end with a NUL and live until the end of this function, as the program does; there are as many
    // names as contents.
    let created = unsafe {
        let (headers, names, count) = (headers.as_ptr(), names.as_ptr(), headers.len() as c_int);
        sys::nvrtcCreateProgram(&mut program, main.as_ptr(), title.as_ptr(), count, headers, names)
    };
    created.result().map_err(|error| error.to_string())?;
    let program = Program(program);
    let options = OPTIONS.map(String::from).into_iter().chain([format!("--gpu-architecture={architecture}")]);
    let options: Vec<String> = options.collect();
    // SAFETY: the program was created above and is destroyed when `program` is dropped, after this call.
    let compiled = unsafe { result::compile_program(program.0, &options) };
    if let Err(error) = compiled {
        // SAFETY: as for the compilation.
        let log = unsafe { result::get_program_log(program.0) }.unwrap_or_default();
        let log: Vec<u8> = log.into_iter().map(|byte| byte as u8).collect();
        let log = String::from_utf8_lossy(&log);
        let first = log.lines().find(|line| line.contains("error")).unwrap_or_default();
        return Err(format!("{error} {first}"));
    }
    let mut size = 0;
    // SAFETY: as for the compilation; the second function writes as many bytes as the first says, and `image` has them.
    unsafe {
        sys::nvrtcGetCUBINSize(program.0, &mut size).result().map_err(|error| error.to_string())?;
        let mut image = vec![0u8; size];
        let target = image.as_mut_ptr().cast::<c_char>();
        sys::nvrtcGetCUBIN(program.0, target).result().map_err(|error| error.to_string())?;
        Ok(image)
    }
}

/// nvcc in the folder that `CUDA_HOME` or `CUDA_PATH` names, else the one on the path.
fn nvcc() -> PathBuf {
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os);
    let binary = format!("nvcc{}", std::env::consts::EXE_SUFFIX);
    let known = homes.map(|home| Path::new(&home).join("bin").join(&binary)).find(|path| path.exists());
    known.unwrap_or_else(|| binary.into())
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
}
