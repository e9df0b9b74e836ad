//! Lists the sources of the CUDA kernels, and compiles them for the host, with the executor that runs them there, if a
//! C++17 compiler exists.
//!
//! `cfg(mamba_executor)` says that it is linked in. Without a compiler everything else is still built.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(mamba_executor)");
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    {
        println!("cargo::rerun-if-changed=cuda");
        sources::write().expect("cuda/ is part of the package");
        executor::build();
    }
}

/// The sources of the kernels, as a list of names and texts for `src/cuda/driver/sources.rs`, and the kernels that they
/// export, for `kernels.rs` there.
#[cfg(feature = "cuda")]
mod sources {
    use std::io::Result;
    use std::path::{Path, PathBuf};
    use std::{env, fs};

    pub fn write() -> Result<()> {
        let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("cuda");
        let mut files = Vec::new();
        collect(&root, &mut files)?;
        let named = |path: PathBuf| {
            let name = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            (name, path)
        };
        let mut files: Vec<(String, PathBuf)> = files.into_iter().map(named).collect();
        files.sort(); // by name: the fingerprint of the sources depends on the order
        let entry = |(name, path): &(String, PathBuf)| format!("({name:?}, include_str!({path:?})),\n");
        let list = format!("&[\n{}]\n", files.iter().map(entry).collect::<String>());
        let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
        fs::write(out.join("cuda_sources.rs"), list)?;
        let texts = files.iter().map(|(_, path)| fs::read_to_string(path)).collect::<Result<Vec<_>>>()?;
        let exported = texts.iter().flat_map(|text| text.split("\nEXPORT_KERNEL(").skip(1));
        let mut kernels: Vec<&str> = exported.filter_map(|rest| rest.split(',').next()).collect();
        kernels.sort_unstable();
        fs::write(out.join("cuda_kernels.rs"), format!("&{kernels:?}"))
    }

    /// The kernels and their headers, without those of the executor.
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                if !path.ends_with("executor") {
                    collect(&path, files)?;
                }
            } else if path.extension().is_some_and(|found| ["cu", "cuh", "h"].iter().any(|it| found == *it)) {
                files.push(path);
            }
        }
        Ok(())
    }
}

#[cfg(feature = "cuda")]
mod executor {
    use std::env;
    use std::error::Error;
    use std::fs;
    use std::path::{Path, PathBuf};

    type Result<T> = std::result::Result<T, Box<dyn Error>>;

    /// The builds of the kernels: without and with checks of every access.
    const BUILDS: [&str; 2] = ["plain", "checked"];

    pub fn build() {
        println!("cargo::rerun-if-env-changed=MAMBA_KERNELS_REQUIRE");
        match compile() {
            Ok(()) => println!("cargo::rustc-cfg=mamba_executor"),
            Err(reason) if is_required() => panic!("the executor of CUDA kernels is required: {reason}"),
            Err(reason) => println!("cargo::warning=built without the executor of CUDA kernels: {reason}"),
        }
    }

    fn is_required() -> bool {
        let required = env::var("MAMBA_KERNELS_REQUIRE").unwrap_or_default();
        required.split(',').any(|name| name.trim() == "cuda-executor")
    }

    fn compile() -> Result<()> {
        let system = env::var("CARGO_CFG_TARGET_OS")?;
        if system != "linux" {
            return Err(format!("it runs on Linux, not on {system}").into());
        }
        if env::var("CARGO_CFG_SANITIZE").is_ok_and(|names| names.split(',').any(|name| name == "thread")) {
            return Err("it has hooks of the same names as the thread sanitizer".into());
        }
        let out = PathBuf::from(env::var("OUT_DIR")?);
        probe(&out)?;
        let mut objects =
            compiler().files(sources("cuda/executor/runtime", "cpp")?).try_compile_intermediates()?;
        let kernels = kernels(Path::new("cuda"))?;
        for build in BUILDS {
            objects.extend(compile_kernels(&out, build, &kernels)?);
        }
        objects.extend(compiler().file(write_table(&out, &kernels)?).try_compile_intermediates()?);
        compiler().objects(objects).try_compile("mamba_executor")?;
        Ok(())
    }

    fn compiler() -> cc::Build {
        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").opt_level(2).debug(true).include("cuda/executor");
        build.flag("-ffp-contract=off").flag_if_supported("-Wno-psabi");
        build
    }

    /// Whether there is a compiler that knows C++17 and has its library.
    fn probe(out: &Path) -> Result<()> {
        let file = out.join("probe.cpp");
        fs::write(
            &file,
            "#include <vector>\ninline int probe = __builtin_LINE();\nstd::vector<int> probes;\n",
        )?;
        let compiled = compiler().cargo_warnings(false).file(&file).try_compile_intermediates();
        compiled.map(drop).map_err(|_| "there is no C++17 compiler, GCC or Clang".into())
    }

    /// One unit per kernel file and build. The file is in an unnamed namespace, so the linker keeps
    /// the same names of the two builds apart.
    fn compile_kernels(out: &Path, build: &str, kernels: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let folder = out.join(build);
        fs::create_dir_all(&folder)?;
        let mut compiler = compiler();
        compiler
            .include("cuda")
            .include("cuda/executor/test_kernels")
            .warnings(false)
            .flag("-Wno-unused-function");
        if build == "checked" {
            compiler.define("MAMBA_EXECUTOR_CHECKED", None).flag("-fsanitize=thread");
            compiler.flag_if_supported("--param=tsan-instrument-func-entry-exit=0");
        }
        for kernel in kernels {
            let path = fs::canonicalize(kernel)?;
            let unit = format!(
                "#include \"device.h\"\nnamespace {{\n#include \"{}\"\n}}\nextern \"C\" {{ char {}; }}\n",
                path.display(),
                unit_symbol(build, kernel)
            );
            let file = folder.join(unit_name(kernel)).with_extension("cpp");
            fs::write(&file, unit)?;
            compiler.file(file);
        }
        Ok(compiler.try_compile_intermediates()?)
    }

    fn unit_symbol(build: &str, kernel: &Path) -> String {
        format!("mamba_executor_unit_{build}_{}", unit_name(kernel))
    }

    /// The path of a kernel file in `cuda/` as an identifier, such as `linear_exact`.
    fn unit_name(kernel: &Path) -> String {
        let path = kernel.strip_prefix("cuda").unwrap_or(kernel).with_extension("");
        path.to_string_lossy().replace(|char: char| !char.is_ascii_alphanumeric(), "_")
    }

    /// The `.cu` files of a folder and of the folders in it, in order of their names.
    fn kernels(folder: &Path) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                files.extend(kernels(&path)?);
            } else if path.extension().is_some_and(|found| found == "cu") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// A table of all units. The linker takes from an archive what is named somewhere, and nothing else names
    /// these.
    fn write_table(out: &Path, kernels: &[PathBuf]) -> Result<PathBuf> {
        let symbols = BUILDS.iter().flat_map(|build| kernels.iter().map(|kernel| unit_symbol(build, kernel)));
        let symbols = symbols.collect::<Vec<_>>();
        let declared = symbols.iter().map(|symbol| format!("extern \"C\" char {symbol};\n"));
        let listed = symbols.iter().map(|symbol| format!("&{symbol},\n"));
        let text = format!(
            "{}extern \"C\" {{ const char* mamba_executor_units[] = {{\n{}}}; }}\n",
            declared.collect::<String>(),
            listed.collect::<String>()
        );
        let file = out.join("units.cpp");
        fs::write(&file, text)?;
        Ok(file)
    }

    /// The files of a folder with an extension, in order of their names.
    fn sources(folder: &str, extension: &str) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}
