"""The CPU back-end: a loop program becomes C++, is compiled by the system's compiler at first use, and runs."""

from unrolled.engine.backends.cpu.diagnosis import diagnosis as diagnosis
from unrolled.engine.backends.cpu.large_products import least_rows_inside as least_rows_inside
from unrolled.engine.backends.cpu.large_products import outer_sum as outer_sum
from unrolled.engine.backends.cpu.large_products import rows_times as rows_times
from unrolled.engine.backends.cpu.library import begin as begin
from unrolled.engine.backends.cpu.library import stop as stop
from unrolled.engine.backends.cpu.memory import new_tensor as new_tensor
from unrolled.engine.backends.cpu.peak import peak as peak
from unrolled.engine.backends.cpu.rows import arranged as arranged
from unrolled.engine.backends.cpu.rows import rows_at as rows_at
from unrolled.engine.backends.cpu.run import kernels as kernels
from unrolled.engine.backends.cpu.run import way_of as way_of
from unrolled.engine.backends.cpu.weight_gradients import sums_of_products as sums_of_products
