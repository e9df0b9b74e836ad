//! NVRTC, NVIDIA's compiler as a library, loaded at run time from where an installation has it.
//!
//! Its interface has not changed since version 11.1, so one set of declarations fits them all.

use super::sources::{MAIN, SOURCES};
use libloading::Library;
use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr;

/// File names, the newest first. The name without a version is that of a toolkit for developers.
const NAMES: &[&str] = if cfg!(windows) {
    &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll", "nvrtc64_112_0.dll"]
} else {
    &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so"]
};

/// The oldest version: machine code comes from 11.1 on, C++17 from 11.0 on.
const OLDEST: (c_int, c_int) = (11, 1);

/// `nvrtcResult`: 0 is success.
type Status = c_int;
type RawProgram = *mut c_void;

/// The library and the functions of it that are called.
#[derive(Debug)]
pub(super) struct Nvrtc {
    version: (c_int, c_int),
    error_string: unsafe extern "C" fn(Status) -> *const c_char,
    create: unsafe extern "C" fn(
        *mut RawProgram,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Status,
    compile: unsafe extern "C" fn(RawProgram, c_int, *const *const c_char) -> Status,
    log_size: unsafe extern "C" fn(RawProgram, *mut usize) -> Status,
    log: unsafe extern "C" fn(RawProgram, *mut c_char) -> Status,
    cubin_size: unsafe extern "C" fn(RawProgram, *mut usize) -> Status,
    cubin: unsafe extern "C" fn(RawProgram, *mut c_char) -> Status,
    destroy: unsafe extern "C" fn(*mut RawProgram) -> Status,
    /// Never unloaded: the library has handlers that run when the process ends.
    _library: ManuallyDrop<Library>,
}

/// A program of NVRTC, which is destroyed when this is dropped.
struct Program<'a> {
    nvrtc: &'a Nvrtc,
    raw: RawProgram,
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: the program was made by `create` and is destroyed once.
        let destroyed = unsafe { (self.nvrtc.destroy)(&mut self.raw) };
        // what cannot be destroyed stays until the process ends
        let _ = destroyed;
    }
}

impl Nvrtc {
    /// The first library that is found and not too old.
    pub(super) fn load() -> Result<Self, String> {
        let mut reason = "the library is not found".to_string();
        for name in candidates() {
            match Self::open(&name) {
                Ok(nvrtc) if nvrtc.version >= OLDEST => return Ok(nvrtc),
                Ok(nvrtc) => reason = format!("version {} is too old", nvrtc.version()),
                Err(libloading::Error::DlOpen { .. } | libloading::Error::LoadLibraryExW { .. }) => {}
                Err(error) => reason = format!("{}: {error}", Path::new(&name).display()),
            }
        }
        Err(reason)
    }

    fn open(name: &OsString) -> Result<Self, libloading::Error> {
        // SAFETY: 1. loading runs the initialisers of NVIDIA's library, which every program that compiles kernels runs.
        // 2. The types of the functions are those of NVRTC's header, the same in all its versions.
        unsafe {
            let library = Library::new(name)?;
            let version_of =
                library.get::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> Status>(b"nvrtcVersion\0")?;
            let (mut major, mut minor) = (0, 0);
            if version_of(&mut major, &mut minor) != 0 {
                (major, minor) = (0, 0);
            }
            load_builtins(Path::new(name), (major, minor));
            Ok(Self {
                version: (major, minor),
                error_string: *library.get(b"nvrtcGetErrorString\0")?,
                create: *library.get(b"nvrtcCreateProgram\0")?,
                compile: *library.get(b"nvrtcCompileProgram\0")?,
                log_size: *library.get(b"nvrtcGetProgramLogSize\0")?,
                log: *library.get(b"nvrtcGetProgramLog\0")?,
                cubin_size: *library.get(b"nvrtcGetCUBINSize\0")?,
                cubin: *library.get(b"nvrtcGetCUBIN\0")?,
                destroy: *library.get(b"nvrtcDestroyProgram\0")?,
                _library: ManuallyDrop::new(library),
            })
        }
    }

    pub(super) fn version(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }

    fn check(&self, status: Status) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the function takes any number and returns a string of the library that ends with a NUL.
        let text = unsafe { CStr::from_ptr((self.error_string)(status)) };
        Err(text.to_string_lossy().into_owned())
    }

    /// Compiles the kernels to machine code.
    pub(super) fn compile(&self, options: &[String]) -> Result<Vec<u8>, String> {
        let text = |text: &str| CString::new(text).map_err(|error| error.to_string());
        let texts = |texts: &mut dyn Iterator<Item = &str>| texts.map(text).collect::<Result<Vec<_>, _>>();
        let names = texts(&mut SOURCES.iter().map(|(name, _)| *name))?;
        let contents = texts(&mut SOURCES.iter().map(|(_, source)| *source))?;
        let options = texts(&mut options.iter().map(String::as_str))?;
        let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let (names, contents) = (pointers(&names[..]), pointers(&contents[..]));
        let option_pointers = pointers(&options[..]);
        let (main, title) = (text(&format!("#include \"{MAIN}\"\n"))?, text("mamba_kernels.cu")?);
        let mut raw = ptr::null_mut();
        // SAFETY: all texts end with a NUL and live until the end of this function, as the program does; there are as
        // many names as contents.
        let created = unsafe {
            let count = contents.len() as c_int;
            (self.create)(&mut raw, main.as_ptr(), title.as_ptr(), count, contents.as_ptr(), names.as_ptr())
        };
        self.check(created)?;
        let program = Program { nvrtc: self, raw };
        // SAFETY: the program lives until this function ends, and the options as said.
        let compiled =
            unsafe { (self.compile)(program.raw, options.len() as c_int, option_pointers.as_ptr()) };
        if let Err(error) = self.check(compiled) {
            let log = self.bytes(&program, self.log_size, self.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let first = log.lines().find(|line| line.contains("error")).unwrap_or_default();
            return Err(format!("{error} {first}"));
        }
        self.bytes(&program, self.cubin_size, self.cubin)
    }

    /// What a pair of functions of a program gives: its size, and its bytes.
    fn bytes(
        &self,
        program: &Program<'_>,
        size_of: unsafe extern "C" fn(RawProgram, *mut usize) -> Status,
        copy: unsafe extern "C" fn(RawProgram, *mut c_char) -> Status,
    ) -> Result<Vec<u8>, String> {
        let mut size = 0;
        // SAFETY: the program lives, and the pointer is to a live variable.
        self.check(unsafe { size_of(program.raw, &mut size) })?;
        let mut bytes = vec![0u8; size];
        // SAFETY: the program lives; the function writes as many bytes as the other has said.
        self.check(unsafe { copy(program.raw, bytes.as_mut_ptr().cast()) })?;
        Ok(bytes)
    }
}

/// NVRTC opens a second library by its name when it compiles, and finds it only on the system's search path or among
/// the libraries that are loaded. Loads the one beside the first, if that was given with its folder.
///
/// # Safety
/// As loading any library of NVIDIA's: its initialisers run.
unsafe fn load_builtins(nvrtc: &Path, (major, minor): (c_int, c_int)) {
    let name = match cfg!(windows) {
        true => format!("nvrtc-builtins64_{major}{minor}.dll"),
        false => format!("libnvrtc-builtins.so.{major}.{minor}"),
    };
    let beside = nvrtc.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(path) = beside.map(|folder| folder.join(name)).filter(|path| path.exists()) {
        // SAFETY: as this function's.
        let loaded = unsafe { Library::new(path) };
        // never unloaded; without it the compilation says what is missing
        loaded.ok().map(ManuallyDrop::new);
    }
}

/// What to try: the names alone, which the system's search path resolves, then each in the folders of a toolkit and of
/// Python packages.
fn candidates() -> Vec<OsString> {
    let alone = NAMES.iter().map(OsString::from);
    let placed = folders().into_iter().flat_map(|folder| NAMES.iter().map(move |name| folder.join(name)));
    alone.chain(placed.filter(|path| path.exists()).map(PathBuf::into_os_string)).collect()
}

fn folders() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let mut homes: Vec<PathBuf> = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(variable).collect();
    if cfg!(unix) {
        homes.push("/usr/local/cuda".into());
    }
    let below_home = if cfg!(windows) { ["bin", "bin/x64"] } else { ["lib64", "lib"] };
    let mut folders: Vec<PathBuf> =
        homes.iter().flat_map(|home| below_home.map(|folder| home.join(folder))).collect();
    for prefix in ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable) {
        folders.push(prefix.join("lib"));
        for packages in python_packages(&prefix) {
            // of version 13, and of 11 and 12
            let places = ["cu13/lib", "cuda_nvrtc/lib", "cu13/bin/x86_64", "cuda_nvrtc/bin"];
            folders.extend(places.map(|place| packages.join("nvidia").join(place)));
        }
    }
    folders
}

/// The folders of a Python environment that have its packages.
fn python_packages(prefix: &Path) -> Vec<PathBuf> {
    if cfg!(windows) {
        return vec![prefix.join("Lib").join("site-packages")];
    }
    let versions = std::fs::read_dir(prefix.join("lib")).into_iter().flatten().flatten();
    let pythons = versions
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3")));
    pythons.map(|path| path.join("site-packages")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Python environment with NVIDIA's packages is searched, whatever the version of Python.
    #[test]
    #[cfg(unix)]
    fn packages_of_an_environment_are_found() {
        let prefix = tempfile::tempdir().unwrap();
        let packages = prefix.path().join("lib/python3.12/site-packages");
        std::fs::create_dir_all(&packages).unwrap();
        std::fs::create_dir_all(prefix.path().join("lib/cmake")).unwrap();
        assert_eq!(python_packages(prefix.path()), [packages]);
        assert!(NAMES.contains(&"libnvrtc.so.13"));
        assert!(candidates().len() >= NAMES.len());
    }
}
