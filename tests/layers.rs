//! The layers of `src/`: arrows between them run one way only, and files do not import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Layers by rank. Those of the same rank do not import each other.
const LAYERS: &[(&str, u32)] = &[
    ("arrays", 0),
    ("ops", 1),
    ("backend", 2),
    ("reference", 3),
    ("cpu", 3),
    ("cuda", 3),
    ("list", 4),
    ("model", 5),
    ("bin", 6),
];
/// The same inside `src/cpu`. Other files of it, such as the backend itself, may import all of these.
const CPU: &[(&str, u32)] = &[("machine", 0), ("simd", 1), ("math", 2)];
/// The rank of the other folders there, which are ops.
const CPU_OP: u32 = 3;

/// Paths in `src/`, with `/` between folders, and their text.
type Sources = BTreeMap<String, String>;
type Segments = Vec<String>;

/// The sources without comments and without the insides of literals; line breaks stay.
fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut out, mut i) = (String::new(), 0);
    while i < chars.len() {
        let start = i;
        let word = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
        let hashes = (1..).take_while(|&n| at(i + n) == '#').count();
        if at(i) == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if at(i) == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            while i < chars.len() {
                let step = match (at(i), at(i + 1)) {
                    ('/', '*') => (1, 2),
                    ('*', '/') => (-1, 2),
                    _ => (0, 1),
                };
                (depth, i) = (depth + step.0, i + step.1);
                if depth == 0 {
                    break;
                }
            }
        } else if at(i) == 'r' && at(i + 1 + hashes) == '"' && (!word || at(i - 1) == 'b' || at(i - 1) == 'c')
        {
            i += 2 + hashes;
            while i < chars.len() && !(at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#')) {
                i += 1;
            }
            i += 1 + hashes;
        } else if at(i) == '"' {
            i += 1;
            while i < chars.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if at(i) == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += if at(i + 1) == '\\' { 3 } else { 2 };
            while i < chars.len() && at(i) != '\'' {
                i += 1;
            }
            i += 1;
        } else {
            out.push(at(i));
            i += 1;
            continue;
        }
        out.push(' ');
        out.extend(chars[start..i.min(chars.len())].iter().filter(|&&c| c == '\n'));
    }
    out
}

/// Every path that starts with `crate`, `super` or `self`, braces expanded, with its line.
fn paths(code: &str) -> Vec<(usize, Segments)> {
    let mut tokens: Vec<(usize, String)> = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut word = String::new();
        for c in line.chars().chain([' ']) {
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                tokens.push((number + 1, std::mem::take(&mut word)));
            }
            if !c.is_whitespace() {
                tokens.push((number + 1, c.to_string()));
            }
        }
    }
    let mut found = Vec::new();
    for i in 0..tokens.len() {
        let head = matches!(tokens[i].1.as_str(), "crate" | "super" | "self");
        let inside = i > 0 && [":", "$"].contains(&tokens[i - 1].1.as_str());
        let visibility = i > 1 && tokens[i - 2].1 == "(" && tokens[i - 1].1 == "in";
        if head && !inside && !visibility && separator(&tokens, i + 1) {
            tree(&tokens, i, &mut Vec::new(), &mut found);
        }
    }
    found
}

fn separator(tokens: &[(usize, String)], i: usize) -> bool {
    tokens.len() > i + 1 && tokens[i].1 == ":" && tokens[i + 1].1 == ":"
}

/// Reads a path or a `use` tree at token `i`; gives the token after it.
fn tree(
    tokens: &[(usize, String)],
    mut i: usize,
    prefix: &mut Segments,
    found: &mut Vec<(usize, Segments)>,
) -> usize {
    let depth = prefix.len();
    while i < tokens.len() {
        if tokens[i].1 == "{" {
            i += 1;
            while i < tokens.len() && tokens[i].1 != "}" {
                let separate = [",", "as"].contains(&tokens[i].1.as_str());
                i = if separate { i + 1 } else { tree(tokens, i, prefix, found).max(i + 1) };
            }
            prefix.truncate(depth);
            return i + 1;
        }
        prefix.push(tokens[i].1.clone());
        if !separator(tokens, i + 1) {
            break;
        }
        i += 3;
    }
    found.push((tokens[i.min(tokens.len() - 1)].0, prefix.clone()));
    prefix.truncate(depth);
    i + 1
}

/// The module of a file: `cpu/linear/mod.rs` is `[cpu, linear]`.
fn module(file: &str) -> Segments {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").or_else(|| path.strip_suffix("/main")).unwrap_or(path);
    path.split('/').filter(|part| *part != "lib").map(String::from).collect()
}

/// Paths from the root of the crate. `super` in an inline module counts as in the file.
fn absolute(module: &[String], path: &[String]) -> Segments {
    let mut base = if path[0] == "crate" { vec![] } else { module.to_vec() };
    let heads = path.iter().take_while(|part| ["crate", "self", "super"].contains(&part.as_str()));
    heads.clone().filter(|part| *part == "super").for_each(|_| _ = base.pop());
    base.into_iter().chain(path[heads.count()..].iter().cloned()).collect()
}

/// Arrows that break the order, as `file:line: from -> to`.
fn wrong_arrows(sources: &Sources) -> Vec<String> {
    let mut wrong = Vec::new();
    let rank = |layers: &[(&str, u32)], name: &str| layers.iter().find(|layer| layer.0 == name).map(|l| l.1);
    for (file, text) in sources {
        let from = module(file);
        let Some(layer) = from.first() else { continue };
        for (line, path) in paths(&code(text)) {
            let to = absolute(&from, &path);
            if layer == "bin" && path[0] == "crate" || to.is_empty() || to[0] == "with_element_type" {
                continue;
            }
            let arrow = format!("src/{file}:{line}: {} -> {}", from.join("::"), to.join("::"));
            // the unit tests of a backend compare it with others
            let is_test = from.iter().any(|part| part == "tests");
            match (rank(LAYERS, layer), rank(LAYERS, &to[0])) {
                (Some(own), Some(other)) if is_test && other <= own => {}
                (_, None) if path[0] == "crate" => wrong.push(format!("{arrow}: name the layer")),
                (Some(own), Some(other)) if *layer != to[0] && other >= own => wrong.push(arrow.clone()),
                _ => {}
            }
            if layer == "cpu" && to[0] == "cpu" && from.len() > 1 && to.len() > 1 && from[1] != to[1] {
                let rank = |name| rank(CPU, name).unwrap_or(CPU_OP);
                if rank(&to[1]) >= rank(&from[1]) {
                    wrong.push(arrow);
                }
            }
        }
    }
    wrong
}

/// The files that each file imports: the longest part of a path that is a module.
fn imports(sources: &Sources) -> BTreeMap<&str, BTreeSet<&str>> {
    let modules: BTreeMap<Segments, &str> =
        sources.keys().map(|file| (module(file), file.as_str())).collect();
    let mut graph = BTreeMap::new();
    for (file, text) in sources {
        let (own, text) = (module(file), code(text));
        let targets: &mut BTreeSet<&str> = graph.entry(file.as_str()).or_default();
        let mut add = |to: Segments| {
            let found = (1..=to.len()).rev().find_map(|len| modules.get(&to[..len]));
            targets.extend(found.filter(|found| **found != file));
        };
        paths(&text)
            .into_iter()
            // `use super::*` is how a unit test imports the file that it is in
            .filter(|(_, path)| path[..] != ["super", "*"] && own.first().is_none_or(|l| l != "bin"))
            .for_each(|(_, path)| add(absolute(&own, &path)));
        // `pub use child::X` in a `mod.rs`
        for line in text.lines().filter_map(|line| line.trim().split_once("use ")) {
            let first = line.1.split("::").next().unwrap_or("").trim();
            let child: Segments = own.iter().cloned().chain([first.to_string()]).collect();
            if modules.contains_key(&child) {
                add(child);
            }
        }
    }
    graph
}

/// The files of one circle, if any.
fn circle(graph: &BTreeMap<&str, BTreeSet<&str>>) -> Option<Vec<String>> {
    fn visit<'a>(
        at: &'a str,
        graph: &BTreeMap<&'a str, BTreeSet<&'a str>>,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(start) = path.iter().position(|file| *file == at) {
            return Some(path[start..].iter().chain([&at]).map(|file| file.to_string()).collect());
        }
        if done.contains(at) {
            return None;
        }
        path.push(at);
        let found = graph[at].iter().find_map(|to| visit(to, graph, path, done));
        path.pop();
        done.insert(at);
        found
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|file| visit(file, graph, &mut Vec::new(), &mut done))
}

fn read(folder: &Path, prefix: &str, sources: &mut Sources) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().display());
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{name}/"), sources);
        } else if name.ends_with(".rs") {
            sources.insert(name, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// The sources of this crate; none, and a line that says so, if they are not on this machine.
fn tree_of_this_crate() -> Sources {
    let mut sources = Sources::new();
    read(Path::new("src"), "", &mut sources);
    if sources.is_empty() {
        eprintln!("SKIPPED: the layers: the sources are not on this machine");
    }
    sources
}

#[test]
fn layers_import_only_lower_layers() {
    let wrong = wrong_arrows(&tree_of_this_crate());
    assert!(wrong.is_empty(), "{} arrows\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn files_import_each_other_in_no_circle() {
    if let Some(files) = circle(&imports(&tree_of_this_crate())) {
        panic!("a circle of imports: {}", files.join(" -> "));
    }
}

fn planted(files: &[(&str, &str)]) -> Sources {
    files.iter().map(|(file, text)| (file.to_string(), text.to_string())).collect()
}

#[test]
fn wrong_arrows_are_found() {
    let arrows = |file, text| wrong_arrows(&planted(&[(file, text)])).len();
    assert_eq!(arrows("arrays/rows.rs", "use crate::ops::X;"), 1);
    assert_eq!(arrows("cpu/mod.rs", "use crate::{arrays::{Rows, Error}, cuda::Y};"), 1);
    assert_eq!(arrows("cpu/mod.rs", "fn f() { crate::model::g() }"), 1);
    assert_eq!(arrows("ops/mod.rs", "use crate::Error;"), 1);
    assert_eq!(arrows("cpu/simd/avx2.rs", "use crate::cpu::math::X;"), 1);
    assert_eq!(arrows("cpu/linear/driver.rs", "use crate::cpu::rms_norm::X;"), 1);
    assert_eq!(arrows("model/mod.rs", "use crate::cpu::Cpu; use super::list;"), 0);
    assert_eq!(arrows("ops/mod.rs", "// crate::cpu\n/* crate::cpu */ const A: &str = \"crate::cpu::X\";"), 0);
}

#[test]
fn circles_are_found() {
    let circle_of = |files: &[(&str, &str)]| circle(&imports(&planted(files))).map(|files| files.len());
    let child = ("cpu/a.rs", "use super::X;");
    assert_eq!(circle_of(&[("cpu/mod.rs", "mod a;\npub use a::Y;"), child]), Some(3));
    assert_eq!(circle_of(&[("cpu/mod.rs", "mod a;"), child]), None);
    assert_eq!(
        circle_of(&[("ops/a.rs", "use crate::ops::b;"), ("ops/b.rs", "use crate::ops::a::X;")]),
        Some(3)
    );
}
