//! Which GPUs this process may use: those that `nvidia-smi` lists, less those that [`VARIABLE`] hides.

use std::process::Command;

use super::{Gpu, VARIABLE};

/// A GPU as `nvidia-smi` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    index: String,
    uuid: String,
    memory_bytes: Option<u64>,
}

/// The GPUs that this process sees; waits for `nvidia-smi`.
pub(super) fn visible() -> Vec<Gpu> {
    let asked = ["--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"];
    let output = Command::new("nvidia-smi").args(asked).output();
    let listed = output.ok().filter(|output| output.status.success());
    let listed = listed.map(|output| listed_in(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default();
    chosen(std::env::var(VARIABLE).ok().as_deref(), &listed)
}

/// The lines of `nvidia-smi`: index, uuid, MiB. Lines that read otherwise are left out.
fn listed_in(text: &str) -> Vec<Listed> {
    let line = |line: &str| {
        let [index, uuid, mib] = line.split(',').map(str::trim).collect::<Vec<_>>()[..] else { return None };
        let is_index = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        let memory_bytes = mib.parse::<u64>().ok().and_then(|mib| mib.checked_mul(1 << 20));
        is_index.then(|| Listed { index: index.to_string(), uuid: uuid.to_string(), memory_bytes })
    };
    text.lines().filter_map(line).collect()
}

/// Those of `listed` that `variable` names, in its order, by index or by the beginning of the uuid; all if it is not set. A name
/// that is not listed, such as that of a part of a GPU, is taken as it is; the list ends at `-1`, as for CUDA.
fn chosen(variable: Option<&str>, listed: &[Listed]) -> Vec<Gpu> {
    let gpu = |listed: &Listed| Gpu { id: listed.uuid.clone(), memory_bytes: listed.memory_bytes };
    let Some(names) = variable else { return listed.iter().map(gpu).collect() };
    let names = names.split(',').map(str::trim).take_while(|name| !name.is_empty() && *name != "-1");
    let found = names.map(|name| {
        let known = listed.iter().find(|listed| listed.index == name || listed.uuid.starts_with(name));
        known.map_or_else(|| Gpu { id: name.to_string(), memory_bytes: None }, gpu)
    });
    let mut gpus: Vec<Gpu> = Vec::new();
    for gpu in found {
        if !gpus.contains(&gpu) {
            gpus.push(gpu);
        }
    }
    gpus
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "0, GPU-aa11, 81559\n1, GPU-bb22, [N/A]\nFailed to initialize\n";

    fn ids(variable: Option<&str>) -> Vec<String> {
        chosen(variable, &listed_in(TWO)).into_iter().map(|gpu| gpu.id).collect()
    }

    #[test]
    fn lines_are_read_and_others_left_out() {
        let memory: Vec<_> = listed_in(TWO).into_iter().map(|listed| listed.memory_bytes).collect();
        assert_eq!(memory, [Some(81_559 << 20), None]);
        assert_eq!(ids(None), ["GPU-aa11", "GPU-bb22"]);
    }

    #[test]
    fn the_variable_hides_and_orders() {
        assert_eq!(ids(Some("1,0")), ["GPU-bb22", "GPU-aa11"]);
        assert_eq!(ids(Some("GPU-bb, 1")), ["GPU-bb22"]);
        assert_eq!(ids(Some("MIG-7,-1,0")), ["MIG-7"]);
        assert_eq!(ids(Some("")), Vec::<String>::new());
        assert_eq!(chosen(Some("3"), &[]), [Gpu { id: "3".into(), memory_bytes: None }]);
    }
}
