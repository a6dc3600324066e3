"""Does a check-up say what is known? `python -m benchmarks.checkup`: exponents, fixed points, horizons, verdicts."""

import time

import torch

import unrolled
from benchmarks import checkup_nets
from benchmarks.harness import append
from unrolled.insight.lyapunov import lyapunov_exponents


def dynamics():
    """Exponents and fixed points that are known: what, wanted, found."""
    model, batch = checkup_nets.linear((0.99, 0.9, 0.6 + 0.5j, 0.4, -0.2))
    wanted = torch.linalg.eigvals(model.weight.detach()).abs().log().sort(descending=True).values
    found = torch.tensor(unrolled.checkup(model, batch).lyapunov, dtype=torch.float64)
    yield "linear recurrence: largest error of an exponent", "1e-4", (found - wanted).abs().max().item()
    states = checkup_nets.lorenz_states(64, 500)
    exponents = lyapunov_exponents(checkup_nets.lorenz, torch.zeros(3000, 64), states, n=3)
    yield "Lorenz: largest exponent", "0.906 ± 0.02", exponents[0].item() / checkup_nets.LORENZ_STEP
    model, batch, loss = checkup_nets.flip_flop()
    points = unrolled.checkup(model, batch, loss=loss).layers[0].fixed_points
    yield "flip-flop, LSTM of 16 units: stable fixed points", "8", sum(point.is_stable for point in points)


def copies():
    """Copy tasks, solved and untrained: the horizon."""
    for delay in (10, 50, 200):
        model, batch, loss = checkup_nets.copy_task(delay)
        yield f"copy, delay {delay}: horizon", delay, unrolled.checkup(model, batch, loss=loss).horizon
        yield f"copy, delay {delay}: horizon without a loss", delay, unrolled.checkup(model, batch).horizon
        model, batch, loss = checkup_nets.copy_task(delay, is_trained=False)
        yield f"copy, delay {delay}, untrained: horizon", "far less", unrolled.checkup(model, batch, loss=loss).horizon


def verdicts():
    """Each illness and each healthy net, of three layers and three seeds."""
    for nets, is_ill in ((checkup_nets.ILL, True), (checkup_nets.HEALTHY, False)):
        for name, net in nets.items():
            n_right = 0
            for layer in checkup_nets.LAYERS:
                for seed in range(3):
                    torch.manual_seed(seed)
                    model, batch, loss = net(layer)
                    kinds = {finding.kind for finding in unrolled.checkup(model, batch, loss=loss).verdict}
                    n_right += name in kinds if is_ill else not kinds
            yield f"{'found' if is_ill else 'not called ill'}: {name}", 9, n_right


def main():
    """All of them, with the seconds that each took, training included."""
    torch.set_num_threads(1)
    rows = []
    for figures in (dynamics, copies, verdicts):
        torch.manual_seed(0)
        start = time.perf_counter()
        for what, wanted, found in figures():
            seconds = round(time.perf_counter() - start, 1)
            print(f"{what}: {found:.6g} (wanted: {wanted}), {seconds} s", flush=True)
            rows.append({"what": what, "wanted": wanted, "found": f"{found:.6g}", "seconds": seconds})
            start = time.perf_counter()
    append("checkup", rows)


if __name__ == "__main__":
    main()
