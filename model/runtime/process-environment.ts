// What a process that trains is best started with: settings that only take effect before it runs.

const TUNABLES = "GLIBC_TUNABLES";
/**
 * glibc 2.35 and newer then ask for huge pages for what they take from the system. Large tensors miss the processor's table of
 * pages less often: a step of 8 blocks of width 512 takes 1,168 ms instead of 1,232 (docs/decisions.md). Others ignore it, and a
 * system that gives huge pages to nobody or everybody does as before.
 */
const HUGE_PAGES = "glibc.malloc.hugetlb=1";

/** A copy of `environment` with what is missing in it; a choice that is there already stays. */
export function trainingEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const given = environment[TUNABLES];
  if (given?.includes("glibc.malloc.hugetlb")) return { ...environment };
  return { ...environment, [TUNABLES]: given ? `${given}:${HUGE_PAGES}` : HUGE_PAGES };
}

/** The environment as it was before `trainingEnvironment`: for programs that are to run as anybody would start them. */
export function plainEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { [TUNABLES]: given = "", ...others } = environment;
  const kept = given
    .split(":")
    .filter((tunable) => tunable !== HUGE_PAGES)
    .join(":");
  return kept === "" ? others : { ...others, [TUNABLES]: kept };
}
